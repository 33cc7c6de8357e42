#include "align/ops/token_scores.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "align/base/check.h"
#include "align/base/threads.h"
#include "align/dnnl/matmul.h"
#include "align/kernels/log_softmax.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

using kernels::RowSums;

// Vocabulary chunks stand at fixed places, so that a row's sums have one order.
constexpr int64_t kChunk = 4096;
constexpr int64_t kRowBlock = 16;

// Everything about one call: R scored rows, D wide, V labels.
struct Scoring {
  Tensor rows;     // [R, D] hidden rows, gathered
  LogitHead head;  // [V, D]
  std::vector<int32_t> labels;
  std::vector<RowSums> sums;
  ScoreOptions options;
  std::vector<Tensor> cached;  // scaled logits by chunk, or empty

  int64_t count() const { return rows.dim(0); }
  int64_t vocab() const { return head.dim(0); }
  int64_t width() const { return head.dim(1); }
  int64_t chunks() const { return (vocab() + kChunk - 1) / kChunk; }
};

template <class Body>
void ForRows(int64_t count, const Body& body) {
  ParallelFor((count + kRowBlock - 1) / kRowBlock, [&](int64_t block) {
    const int64_t end = std::min(count, (block + 1) * kRowBlock);
    for (int64_t row = block * kRowBlock; row < end; ++row) body(row);
  });
}

// Scaled logits of all rows for the labels [begin, begin + n): out [R, n] with
// `stride` floats from row to row.
void ChunkLogits(const Tensor& rows, const LogitHead& head, int64_t begin,
                 int64_t n, double temperature, float* out, int64_t stride) {
  const int64_t count = rows.dim(0), d = rows.dim(1);
  Matmul(RowMajor(rows.data(), count, d),
         Transposed(RowMajor(head.data() + begin * d, n, d)), out, stride);
  if (temperature == 1 && head.soft_cap == 0) return;
  ForRows(count, [&](int64_t row) {
    kernels::ScaleLogits(out + row * stride, n, static_cast<float>(temperature),
                         static_cast<float>(head.soft_cap));
  });
}

Tensor LogitsOfChunk(const Scoring& s, int64_t chunk) {
  if (!s.cached.empty()) return s.cached[chunk];
  const int64_t begin = chunk * kChunk;
  const int64_t n = std::min(kChunk, s.vocab() - begin);
  Tensor logits = Tensor::Empty({s.count(), n});
  ChunkLogits(s.rows, s.head, begin, n, s.options.temperature, logits.data(),
              n);
  return logits;
}

// Runs over the chunks once: sums, and the labels' scaled logits.
std::vector<float> Forward(Scoring& s, bool keep) {
  std::vector<float> label_logits(s.count());
  s.sums.assign(s.count(), RowSums());
  const bool moments = s.options.entropy || s.options.statistics;
  std::vector<Tensor> kept;
  for (int64_t chunk = 0; chunk < s.chunks(); ++chunk) {
    const Tensor logits = LogitsOfChunk(s, chunk);
    const int64_t n = logits.dim(1);
    ForRows(s.count(), [&](int64_t row) {
      const float* z = logits.data() + row * n;
      const int64_t label = s.labels[row] - chunk * kChunk;
      if (label >= 0 && label < n) label_logits[row] = z[label];
      kernels::AddChunk(z, n, moments, s.sums[row]);
    });
    if (keep) kept.push_back(logits);
  }
  s.cached = std::move(kept);
  return label_logits;
}

// Turns the scaled logits of one chunk into gradients of the raw logits.
Tensor ChunkGradients(const Scoring& s, int64_t chunk, const float* grad) {
  Tensor dz = LogitsOfChunk(s, chunk);
  const int64_t n = dz.dim(1), count = s.count();
  ForRows(count, [&](int64_t row) {
    const RowSums& sums = s.sums[row];
    const bool entropy = s.options.entropy;
    kernels::LogitGradients(
        {.log_prob = grad[row],
         .entropy = entropy ? grad[count + row] : 0,
         .log_sum_exp = sums.LogSumExp(),
         .row_entropy = entropy ? sums.Entropy() : 0,
         .temperature = static_cast<float>(s.options.temperature),
         .soft_cap = static_cast<float>(s.head.soft_cap)},
        s.labels[row] - chunk * kChunk, n, dz.data() + row * n);
  });
  return dz;
}

// Walks the chunks again; their cached logits are used up.
void BackwardScores(Scoring& s, const float* grad) {
  const int64_t d = s.width();
  for (int64_t chunk = 0; chunk < s.chunks(); ++chunk) {
    const int64_t begin = chunk * kChunk;
    const Tensor dz = ChunkGradients(s, chunk, grad);
    const MatrixView dz_view = RowMajor(dz.data(), s.count(), dz.dim(1));
    if (s.rows.requires_grad()) {
      Matmul(dz_view, RowMajor(s.head.data() + begin * d, dz.dim(1), d),
             s.rows.grad(), d, /*accumulate=*/true);
    }
    if (s.head.requires_grad()) {
      Matmul(Transposed(dz_view), RowMajor(s.rows.data(), s.count(), d),
             s.head.grad() + begin * d, d, /*accumulate=*/true);
    }
    if (!s.cached.empty()) s.cached[chunk] = Tensor();
  }
}

TokenStatistics Statistics(const Scoring& s,
                           const std::vector<float>& label_logits) {
  TokenStatistics statistics;
  for (int64_t row = 0; row < s.count(); ++row) {
    const RowSums& sums = s.sums[row];
    statistics.mean_logit.push_back(
        static_cast<float>(sums.logits / static_cast<double>(s.vocab())));
    statistics.sum_squares.push_back(sums.SumSquaredProbabilities());
    statistics.label_is_argmax.push_back(label_logits[row] >= sums.maximum);
  }
  return statistics;
}

}  // namespace

std::span<const float> TokenScores::log_probs() const {
  return values.values().subspan(0, values.dim(1));
}

std::span<const float> TokenScores::entropies() const {
  ALIGN_CHECK(values.dim(0) == 2) << "[TokenScores] entropy was not asked for";
  return values.values().subspan(values.dim(1));
}

TokenScores ScoreTokens(const Tensor& hidden, const LogitHead& head,
                        std::span<const ScoredToken> tokens,
                        const ScoreOptions& options) {
  ALIGN_CHECK(hidden.dim(1) == head.dim(1) && options.temperature > 0)
      << "[ScoreTokens] hidden " << ToString(hidden.shape()) << ", head "
      << ToString(head.shape()) << ", temperature " << options.temperature;
  const auto scoring = std::make_shared<Scoring>(Scoring{.rows = {},
                                                         .head = head,
                                                         .labels = {},
                                                         .sums = {},
                                                         .options = options,
                                                         .cached = {}});
  Scoring& s = *scoring;
  std::vector<int32_t> rows;
  for (const ScoredToken& token : tokens) {
    ALIGN_CHECK(token.label >= 0 && token.label < head.dim(0))
        << "[ScoreTokens] label " << token.label << " of " << head.dim(0);
    rows.push_back(token.row);
    s.labels.push_back(token.label);
  }
  s.rows = GatherRows(hidden, rows);
  const bool recorded =
      GradEnabled() && (hidden.requires_grad() || head.requires_grad());
  const int64_t bytes = s.count() * s.vocab() * int64_t{sizeof(float)};
  const std::vector<float> label_logits =
      Forward(s, recorded && bytes <= options.head_cache_mb << 20);

  TokenScores scores;
  scores.values = Tensor::Empty({options.entropy ? 2 : 1, s.count()});
  for (int64_t row = 0; row < s.count(); ++row) {
    scores.values.data()[row] =
        LogProb(label_logits[row], s.sums[row].LogSumExp());
    if (options.entropy) {
      scores.values.data()[s.count() + row] = s.sums[row].Entropy();
    }
  }
  if (options.statistics) scores.statistics = Statistics(s, label_logits);
  scores.values =
      Record("ScoreTokens", scores.values, {s.rows, head},
             [scoring](const float* grad) { BackwardScores(*scoring, grad); });
  return scores;
}

HeadLogits ComputeHeadLogits(const Tensor& hidden, const LogitHead& head,
                             double temperature) {
  const int64_t count = hidden.dim(0), vocab = head.dim(0);
  HeadLogits result;
  result.logits = Tensor::Empty({count, vocab});
  std::vector<RowSums> sums(count);
  for (int64_t begin = 0; begin < vocab; begin += kChunk) {
    const int64_t n = std::min(kChunk, vocab - begin);
    ChunkLogits(hidden, head, begin, n, temperature,
                result.logits.data() + begin, vocab);
    ForRows(count, [&](int64_t row) {
      kernels::AddChunk(result.logits.data() + row * vocab + begin, n,
                        /*moments=*/false, sums[row]);
    });
  }
  for (const RowSums& row : sums) {
    result.log_sum_exp.push_back(row.LogSumExp());
  }
  return result;
}

std::vector<float> RowLogSumExps(const Tensor& logits) {
  const int64_t count = logits.dim(0), vocab = logits.dim(1);
  std::vector<float> result(count);
  ForRows(count, [&](int64_t row) {
    RowSums sums;
    for (int64_t begin = 0; begin < vocab; begin += kChunk) {
      kernels::AddChunk(logits.data() + row * vocab + begin,
                        std::min(kChunk, vocab - begin),
                        /*moments=*/false, sums);
    }
    result[row] = sums.LogSumExp();
  });
  return result;
}

}  // namespace align
