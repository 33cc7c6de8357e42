#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/eval/statistics.h"
#include "align/models/model.h"
#include "align/train/reference.h"
#include "align/train/reward_function.h"
#include "samplers/generate.h"

namespace align {

// How a policy does on some prompts, and how far it is from where it started.
struct PolicyEvaluation {
  std::vector<samplers::Completion> replies;  // one a prompt, in order
  MeanError reward;
  // Mean log-ratio of the replies to `reference`, nats a reply: MeanLogRatio.
  double kl = 0;
  int64_t tokens = 0;  // of all replies
};

// Samples one reply to each prompt, from rng.Fork(p) as samplers::Generate
// does, and judges it by `reward` and `reference`, which must score at the
// temperature of `sampling`. Policies that are given equal prompts and `rng`
// draw common random numbers: their differences have less noise than either.
// kInvalidArgument without a prompt or at temperature 0, else the errors of
// Generate, `reward` and `reference`.
absl::StatusOr<PolicyEvaluation> EvaluatePolicy(
    const Model& policy, std::span<const std::vector<int32_t>> prompts,
    const train::RewardFunction& reward,
    const train::ReferenceLogProbs& reference,
    const samplers::SamplingOptions& sampling, const Rng& rng);

}  // namespace align
