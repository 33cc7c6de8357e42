#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "align/base/status.h"
#include "align/models/model.h"

namespace align::train {

// Scores of completions[i], a reply to prompts[i]; one finite number each, NaN
// for a reply that cannot be scored (which some users refuse), or an error.
// Token ids without padding; a stop id, if any, is part of the
// completion.
using RewardFunction = std::function<absl::StatusOr<std::vector<double>>(
    std::span<const std::vector<int32_t>> prompts,
    std::span<const std::vector<int32_t>> completions)>;

// A rule on one reply, for rewards that are computed and not learned.
RewardFunction RewardByReply(
    std::function<double(const std::vector<int32_t>& reply)> score);

struct RewardModelOptions {
  int64_t max_tokens = 4096;  // of one batch, at least one reply
  double gain = 1;            // reward = gain * score + bias: what makes SFT
  double bias = 0;            // samples have mean 0, deviation 1 (Ziegler 2019)
};

// The score of `model`, a classifier with one label, at each last token; no
// gradients. Neighbours with the same prompt share it. `model` must outlive the
// function. Returns kInvalidArgument for an empty prompt, ids that the model
// does not have, or spans of different lengths; kDataLoss for a score that is
// not finite.
RewardFunction RewardModelFunction(const Model& model,
                                   const RewardModelOptions& options = {});

// What a NaN among scores is: an error, or a reply that could not be scored.
enum class Unscorable { kRefused, kAllowed };

// Whether `scores` are `count` finite numbers, or NaN where that is allowed:
// kDataLoss says which is not.
absl::Status CheckRewards(std::span<const double> scores, size_t count,
                          Unscorable unscorable = Unscorable::kRefused);

}  // namespace align::train
