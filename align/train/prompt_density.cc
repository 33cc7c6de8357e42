#include "align/train/prompt_density.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "align/base/log.h"
#include "align/ops/packed_batch.h"
#include "align/tensor/tape.h"
#include "losses/density_ratio.h"

namespace align::train {
namespace {

// Adds a row a prompt of `packed` to `rows`, from row `first` on: the mean of
// its final hidden rows.
absl::Status EmbedBatch(const Model& model, const PackedBatch& packed,
                        Eigen::Index first, Eigen::MatrixXd& rows) {
  ALIGN_RETURN_IF_ERROR(model.CheckTokens(packed.tokens, packed.segments));
  const NoGrad no_grad;
  const Tensor hidden = model.Hidden(packed.tokens, packed.segments);
  const int64_t width = hidden.dim(1);
  for (int32_t s = 0; s < packed.segments.count(); ++s) {
    const Segment& segment = packed.segments[s];
    for (int64_t r = segment.begin; r < segment.begin + segment.length; ++r) {
      rows.row(first + s) +=
          Eigen::Map<const Eigen::RowVectorXf>(hidden.data() + r * width, width)
              .cast<double>();
    }
    rows.row(first + s) /= static_cast<double>(segment.length);
  }
  return absl::OkStatus();
}

// One row an index, [count, D].
absl::StatusOr<Eigen::MatrixXd> EmbedPrompts(
    const Model& model, const std::vector<UnpairedExample>& examples,
    std::span<const int64_t> indices, int64_t max_tokens) {
  Eigen::MatrixXd rows = Eigen::MatrixXd::Zero(
      static_cast<Eigen::Index>(indices.size()), model.config().hidden_size);
  PackedBatch packed;
  Eigen::Index done = 0;
  const auto flush = [&]() -> absl::Status {
    const absl::Status status = EmbedBatch(model, packed, done, rows);
    done += packed.segments.count();
    packed = PackedBatch();
    return status;
  };
  for (const int64_t index : indices) {
    const std::vector<int32_t>& prompt = examples[index].prompt;
    const auto size = static_cast<int64_t>(prompt.size());
    if (packed.rows() > 0 && packed.rows() + size > max_tokens) {
      ALIGN_RETURN_IF_ERROR(flush());
    }
    packed.AppendPrompt(prompt);
  }
  if (packed.rows() > 0) ALIGN_RETURN_IF_ERROR(flush());
  return rows;
}

// At most `count` of the examples with this label, in the order of the examples
// when there are no more.
std::vector<int64_t> Draw(const std::vector<UnpairedExample>& examples,
                          bool desirable, int64_t count, Rng rng) {
  std::vector<int64_t> all;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (examples[i].desirable == desirable) {
      all.push_back(static_cast<int64_t>(i));
    }
  }
  if (static_cast<int64_t>(all.size()) <= count) return all;
  std::vector<int64_t> drawn;
  for (const int64_t place :
       rng.Permutation(static_cast<int64_t>(all.size()))) {
    if (static_cast<int64_t>(drawn.size()) == count) break;
    drawn.push_back(all[place]);
  }
  return drawn;
}

absl::StatusOr<losses::LogisticClassifier> Fit(
    const Model& embedder, const Rng& rng, const PromptDensityOptions& options,
    const std::vector<UnpairedExample>& examples) {
  std::vector<int64_t> indices =
      Draw(examples, true, options.sample_size, rng.Fork("desirable"));
  const auto good = static_cast<Eigen::Index>(indices.size());
  const std::vector<int64_t> others =
      Draw(examples, false, options.sample_size, rng.Fork("undesirable"));
  if (good == 0 || others.empty()) {
    return InvalidArgument(
        "density ratios: no " +
        std::string(good == 0 ? "desirable" : "undesirable") +
        " reply; expected prompts of both kinds to tell apart");
  }
  indices.insert(indices.end(), others.begin(), others.end());
  ALIGN_ASSIGN_OR_RETURN(
      const Eigen::MatrixXd rows,
      EmbedPrompts(embedder, examples, indices, options.max_tokens));
  losses::Labels desirable = losses::Labels::Constant(rows.rows(), false);
  desirable.head(good) = true;
  losses::LogisticClassifier classifier = losses::FitLogistic(rows, desirable);
  if (!classifier.converged) {
    LogWarning("density ratios: the classifier of prompts did not converge");
  }
  return classifier;
}

}  // namespace

absl::Status EstimateDensityRatios(const Model& embedder, const Rng& rng,
                                   const PromptDensityOptions& options,
                                   std::vector<UnpairedExample>& examples) {
  std::vector<int64_t> lacking;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (examples[i].desirable || examples[i].density_ratio) continue;
    lacking.push_back(static_cast<int64_t>(i));
  }
  if (lacking.empty()) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(const losses::LogisticClassifier classifier,
                         Fit(embedder, rng, options, examples));
  // Some at a time: all of their rows need not fit into memory.
  constexpr size_t kAtATime = 1024;
  for (size_t begin = 0; begin < lacking.size(); begin += kAtATime) {
    const std::span<const int64_t> part = std::span(lacking).subspan(
        begin, std::min(kAtATime, lacking.size() - begin));
    ALIGN_ASSIGN_OR_RETURN(
        const Eigen::MatrixXd rows,
        EmbedPrompts(embedder, examples, part, options.max_tokens));
    const Eigen::ArrayXd ratios = losses::DensityRatio(classifier.Logits(rows));
    for (size_t i = 0; i < part.size(); ++i) {
      examples[part[i]].density_ratio = ratios[static_cast<Eigen::Index>(i)];
    }
  }
  return absl::OkStatus();
}

}  // namespace align::train
