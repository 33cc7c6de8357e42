#include "align/train/weighted_reward.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "align/base/profile.h"

namespace align::train {

absl::Status CheckWeights(const std::string& where,
                          const std::vector<WeightedReward>& rewards) {
  if (rewards.empty()) {
    return InvalidArgument(where + ": no reward; expected at least one");
  }
  for (const WeightedReward& reward : rewards) {
    if (std::isfinite(reward.weight)) continue;
    return InvalidArgument(where + ": the weight of reward " + reward.name +
                           " is not finite; expected a number");
  }
  return absl::OkStatus();
}

absl::Status ScoreReplies(const std::vector<WeightedReward>& rewards,
                          std::span<const std::vector<int32_t>> prompts,
                          std::span<const std::vector<int32_t>> replies,
                          const std::vector<bool>& stopped,
                          std::optional<double> penalty,
                          losses::AdvantageInputs& in) {
  const auto functions = static_cast<Eigen::Index>(rewards.size());
  Eigen::ArrayXXd& scores = in.rewards_per_function;
  scores.resize(static_cast<Eigen::Index>(replies.size()),
                functions + (penalty ? 1 : 0));
  in.reward_weights.clear();
  const auto stage = ProfileScope::Stage("reward");
  for (Eigen::Index k = 0; k < functions; ++k) {
    ALIGN_ASSIGN_OR_RETURN(const std::vector<double> column,
                           rewards[k].score(prompts, replies));
    const absl::Status status =
        CheckRewards(column, replies.size(), Unscorable::kAllowed);
    if (!status.ok()) return Annotate(status, rewards[k].name);
    std::ranges::copy(column, scores.col(k).begin());
    in.reward_weights.push_back(rewards[k].weight);
  }
  if (penalty) in.reward_weights.push_back(1);
  for (Eigen::Index i = 0; penalty && i < scores.rows(); ++i) {
    // NaN where no function applies: a penalty alone is no score.
    scores(i, functions) = std::numeric_limits<double>::quiet_NaN();
    for (Eigen::Index k = 0; k < functions; ++k) {
      if (std::isnan(scores(i, k))) continue;
      scores(i, functions) = stopped[i] ? 0.0 : -*penalty;
    }
  }
  return absl::OkStatus();
}

}  // namespace align::train
