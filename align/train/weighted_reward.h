#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/train/reward_function.h"
#include "losses/advantages.h"

namespace align::train {

// One of the things that replies are rewarded for.
struct WeightedReward {
  std::string name;  // in metrics
  RewardFunction score;
  double weight = 1;
};

// kInvalidArgument, starting with `where`, for no reward at all or a weight
// that is not finite.
absl::Status CheckWeights(const std::string& where,
                          const std::vector<WeightedReward>& rewards);

// Sets `in.rewards_per_function` to the scores of all functions for n replies,
// [n, F], and `in.reward_weights` to their weights; with `penalty`, which is
// taken from replies that did not stop before their limit, a column of that
// too. NaN: the function does not apply to the reply. Errors are those of the
// functions and, as CheckRewards, of what they return.
absl::Status ScoreReplies(const std::vector<WeightedReward>& rewards,
                          std::span<const std::vector<int32_t>> prompts,
                          std::span<const std::vector<int32_t>> replies,
                          const std::vector<bool>& stopped,
                          std::optional<double> penalty,
                          losses::AdvantageInputs& in);

}  // namespace align::train
