#pragma once

#include <Eigen/Core>

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/running_moments.h"

namespace align::losses {

struct RewardNormalizerOptions {
  bool shift = false;
  bool scale = false;
  double clip = 0;
  double epsilon = 1e-8;

  void Describe(OptionList& list) {
    list.Flag("reward_shift", &shift,
              "take off the mean of all rewards so far (TRL 0.7's "
              "use_score_norm, with reward_scale)");
    list.Flag("reward_scale", &scale,
              "divide by the deviation of all rewards so far, this batch "
              "included (TRL 0.7's use_score_scaling)");
    list.Number("reward_clip", &clip, {.low = 0},
                "then limit to +- this (OpenRLHF 10; TRL 0.7's score_clip); 0 "
                "is off");
    list.Number("reward_epsilon", &epsilon, {.low = 0},
                "added to the deviation");
  }
};

// Rewards [B] normalised by the moments of all batches so far, which take this
// one in first; `moments` is the state to checkpoint. The rewards are finite:
// take unscorable ones out before.
inline Eigen::ArrayXd NormalizeRewards(const Eigen::ArrayXd& rewards,
                                       const RewardNormalizerOptions& options,
                                       RunningMoments& moments) {
  Eigen::ArrayXd out = rewards;
  if (options.shift || options.scale) moments.Update(rewards);
  if (options.shift) out -= moments.mean;
  if (options.scale) out /= moments.StandardDeviation() + options.epsilon;
  if (options.clip > 0) out = out.max(-options.clip).min(options.clip);
  return out;
}

}  // namespace align::losses
