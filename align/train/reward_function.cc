#include "align/train/reward_function.h"

#include <cmath>
#include <string>
#include <utility>

#include "align/base/profile.h"
#include "align/tensor/tape.h"
#include "align/train/reward_objective.h"

namespace align::train {
namespace {

absl::Status AppendScores(const Model& model, const PackedBatch& packed,
                          const RewardModelOptions& options,
                          std::vector<double>& rewards) {
  ALIGN_RETURN_IF_ERROR(model.CheckTokens(packed.tokens, packed.segments));
  const auto stage = ProfileScope::Stage("reward");
  const NoGrad no_grad;
  const Tensor scores = RewardScores(model, packed);
  for (float score : scores.values()) {
    rewards.push_back(options.gain * score + options.bias);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRewards(std::span<const double> scores, size_t count,
                          Unscorable unscorable) {
  if (scores.size() != count) {
    return DataLoss("reward function: " + std::to_string(scores.size()) +
                    " scores; expected " + std::to_string(count));
  }
  const bool nan_allowed = unscorable == Unscorable::kAllowed;
  for (size_t i = 0; i < count; ++i) {
    if (std::isfinite(scores[i])) continue;
    if (nan_allowed && std::isnan(scores[i])) continue;
    return DataLoss("reward function: score " + std::to_string(i) + " is " +
                    std::to_string(scores[i]) + "; expected finite numbers" +
                    (nan_allowed ? ", or NaN for no score" : ""));
  }
  return absl::OkStatus();
}

RewardFunction RewardByReply(
    std::function<double(const std::vector<int32_t>& reply)> score) {
  return [score = std::move(score)](
             std::span<const std::vector<int32_t>>,
             std::span<const std::vector<int32_t>> completions)
             -> absl::StatusOr<std::vector<double>> {
    std::vector<double> rewards;
    for (const std::vector<int32_t>& completion : completions) {
      rewards.push_back(score(completion));
    }
    return rewards;
  };
}

RewardFunction RewardModelFunction(const Model& model,
                                   const RewardModelOptions& options) {
  return [&model, options](std::span<const std::vector<int32_t>> prompts,
                           std::span<const std::vector<int32_t>> completions)
             -> absl::StatusOr<std::vector<double>> {
    if (prompts.size() != completions.size()) {
      return InvalidArgument("reward model: " + std::to_string(prompts.size()) +
                             " prompts, " + std::to_string(completions.size()) +
                             " completions");
    }
    std::vector<double> rewards;
    PackedBatch packed;
    int32_t prompt = -1;  // segment of the last prompt in `packed`
    for (size_t i = 0; i < prompts.size(); ++i) {
      if (prompts[i].empty()) {
        return InvalidArgument("reward model: prompt " + std::to_string(i) +
                               " is empty");
      }
      const auto size =
          static_cast<int64_t>(prompts[i].size() + completions[i].size());
      if (packed.sequences > 0 && packed.rows() + size > options.max_tokens) {
        ALIGN_RETURN_IF_ERROR(AppendScores(model, packed, options, rewards));
        packed = PackedBatch();
        prompt = -1;
      }
      if (prompt < 0 || prompts[i] != prompts[i - 1]) {
        prompt = packed.AppendPrompt(prompts[i]);
      }
      packed.AppendCompletion(prompt, completions[i]);
    }
    if (packed.sequences > 0) {
      ALIGN_RETURN_IF_ERROR(AppendScores(model, packed, options, rewards));
    }
    ALIGN_RETURN_IF_ERROR(CheckRewards(rewards, prompts.size()));
    return rewards;
  };
}

}  // namespace align::train
