#include "align/ops/token_scores.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/base/team.h"
#include "align/kernels/log_softmax.h"
#include "align/ops/head_chunks.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

using kernels::RowSums;

// Everything about one call: R scored rows, D wide, V labels.
struct Scoring {
  HeadChunks chunks;
  std::vector<int32_t> labels;
  std::vector<RowSums> sums;
  ScoreOptions options;

  int64_t count() const { return chunks.count(); }
};

// Runs over the chunks once: sums, and the labels' scaled logits.
std::vector<float> Forward(Scoring& s, bool keep) {
  std::vector<float> label_logits(s.count());
  s.sums.assign(s.count(), RowSums());
  const bool moments = s.options.entropy || s.options.statistics;
  for (int64_t chunk = 0; chunk < s.chunks.chunks(); ++chunk) {
    const Tensor logits = s.chunks.Logits(chunk);
    const int64_t n = logits.dim(1);
    const ProfileScope scope("log-sum-exp", 0, 4.0 * logits.size());
    ForHeadRows(s.count(), [&](int64_t row) {
      const float* z = logits.data() + row * n;
      const int64_t label = s.labels[row] - chunk * kHeadChunk;
      if (label >= 0 && label < n) label_logits[row] = z[label];
      kernels::AddChunk(z, n, moments, s.sums[row]);
    });
    if (keep) s.chunks.Keep(logits);
  }
  return label_logits;
}

// Turns row after row of a chunk's scaled logits into gradients of the raw
// ones.
void AddChunkGradients(Scoring& s, int64_t chunk, const float* grad) {
  Tensor dz = s.chunks.Logits(chunk);
  s.chunks.Drop(chunk);
  float* const rows = dz.data();
  const int64_t n = dz.dim(1), count = s.count();
  s.chunks.AddGradients(chunk, std::move(dz), [&](int64_t row) {
    const RowSums& sums = s.sums[row];
    const bool entropy = s.options.entropy;
    kernels::LogitGradients(
        {.log_prob = grad[row],
         .entropy = entropy ? grad[count + row] : 0,
         .log_sum_exp = sums.LogSumExp(),
         .row_entropy = entropy ? sums.Entropy() : 0,
         .temperature = static_cast<float>(s.options.temperature),
         .soft_cap = static_cast<float>(s.chunks.head().soft_cap)},
        s.labels[row] - chunk * kHeadChunk, n, rows + row * n);
  });
}

// Walks the chunks again; their kept logits are used up.
void BackwardScores(Scoring& s, const float* grad) {
  for (int64_t chunk = 0; chunk < s.chunks.chunks(); ++chunk) {
    AddChunkGradients(s, chunk, grad);
  }
}

TokenStatistics Statistics(const Scoring& s,
                           const std::vector<float>& label_logits) {
  TokenStatistics statistics;
  for (int64_t row = 0; row < s.count(); ++row) {
    const RowSums& sums = s.sums[row];
    statistics.mean_logit.push_back(static_cast<float>(
        sums.logits / static_cast<double>(s.chunks.vocab())));
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
  const auto phase = ProfileScope::Phase("head");
  const ProfileScope scope("ScoreTokens");
  ALIGN_CHECK(hidden.dim(1) == head.dim(1) && options.temperature > 0)
      << "[ScoreTokens] hidden " << ToString(hidden.shape()) << ", head "
      << ToString(head.shape()) << ", temperature " << options.temperature;
  std::vector<int32_t> rows, labels;
  for (const ScoredToken& token : tokens) {
    ALIGN_CHECK(token.label >= 0 && token.label < head.dim(0))
        << "[ScoreTokens] label " << token.label << " of " << head.dim(0);
    rows.push_back(token.row);
    labels.push_back(token.label);
  }
  const auto scoring = std::make_shared<Scoring>(Scoring{
      .chunks = HeadChunks(GatherRows(hidden, rows), head, options.temperature),
      .labels = std::move(labels),
      .sums = {},
      .options = options});
  Scoring& s = *scoring;
  const bool recorded =
      GradEnabled() && (hidden.requires_grad() || head.requires_grad());
  const bool keep = recorded && s.chunks.bytes() <= options.head_cache_mb << 20;
  std::vector<float> label_logits;
  WithTeam([&] { label_logits = Forward(s, keep); });

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
      Record("ScoreTokens", scores.values, {s.chunks.rows(), head},
             [scoring](const float* grad) { BackwardScores(*scoring, grad); });
  return scores;
}

HeadLogits ComputeHeadLogits(const Tensor& hidden, const LogitHead& head,
                             double temperature) {
  const auto phase = ProfileScope::Phase("head");
  const ProfileScope scope("ComputeHeadLogits");
  const int64_t count = hidden.dim(0), vocab = head.dim(0);
  HeadLogits result;
  result.logits = Tensor::Empty({count, vocab});
  std::vector<RowSums> sums(count);
  for (int64_t begin = 0; begin < vocab; begin += kHeadChunk) {
    const int64_t n = std::min(kHeadChunk, vocab - begin);
    Tensor chunk = Tensor::Empty({count, n});
    ComputeChunkLogits(hidden, head, begin, n, temperature, chunk.data());
    ForHeadRows(count, [&](int64_t row) {
      const float* logits = chunk.data() + row * n;
      std::copy_n(logits, n, result.logits.data() + row * vocab + begin);
      kernels::AddChunk(logits, n, /*moments=*/false, sums[row]);
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
  ForHeadRows(count, [&](int64_t row) {
    RowSums sums;
    for (int64_t begin = 0; begin < vocab; begin += kHeadChunk) {
      kernels::AddChunk(logits.data() + row * vocab + begin,
                        std::min(kHeadChunk, vocab - begin),
                        /*moments=*/false, sums);
    }
    result[row] = sums.LogSumExp();
  });
  return result;
}

}  // namespace align
