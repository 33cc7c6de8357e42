#pragma once

// Clipped policy and value losses of PPO (Schulman et al. 2017, arXiv
// 1707.06347), token by token, un-reduced. Multiply by mask / sum(mask) for the
// masked mean that TRL and Huang et al. 2024 use.

#include <algorithm>
#include <cmath>

#include "losses/clipped_ratio.h"
#include "losses/gae.h"
#include "losses/numerics.h"

namespace align::losses {

struct PpoPolicyOptions {
  double clip_low = 0.2;   // ratio is clipped to [1 - clip_low,
  double clip_high = 0.2;  //                      1 + clip_high]
  double dual_clip = 0;    // as in ClippedRatioOptions; 0 is off
};

struct PpoPolicyResult {
  Eigen::ArrayXd loss;        // [N]
  Eigen::ArrayXd d_log_prob;  // [N] d sum(loss) / d log_prob
  Eigen::ArrayXd ratio;       // [N] pi / pi_old
  Eigen::ArrayXd clipped;     // [N] 1 where the clipped branch is the larger
};

// loss = max(-A rho, -A clip(rho, 1 - e_low, 1 + e_high)), rho = exp(log_prob -
// old_log_prob); eq. 7 of the paper with the sign turned. All arrays [N].
inline PpoPolicyResult PpoPolicyLoss(const Eigen::ArrayXd& log_prob,
                                     const Eigen::ArrayXd& old_log_prob,
                                     const Eigen::ArrayXd& advantages,
                                     const PpoPolicyOptions& options = {}) {
  const ClippedRatioRule rule{{.epsilon = options.clip_low,
                               .epsilon_high = options.clip_high,
                               .dual_clip = options.dual_clip}};
  const Eigen::ArrayXd zeros = Eigen::ArrayXd::Zero(log_prob.size());
  PpoPolicyResult out{zeros, zeros, zeros, zeros};
  for (Eigen::Index t = 0; t < log_prob.size(); ++t) {
    const double log_ratio = log_prob[t] - old_log_prob[t];
    out.ratio[t] = std::exp(std::min(log_ratio, kMaxExponent));
    const SurrogateStep step =
        rule({log_prob[t], out.ratio[t], advantages[t], log_ratio});
    out.loss[t] = step.value;
    out.d_log_prob[t] = log_ratio > kMaxExponent ? 0.0 : step.by_log_ratio;
    out.clipped[t] = step.clipped == ClipSide::kNone ? 0 : 1;
  }
  return out;
}

// Whether a batch whose ratios ran away should be dropped, policy and value
// loss alike: their mean over what `mask` keeps is above `threshold`. 0: never.
// Source: TRL's ratio_threshold (there 10) until v0.11.
inline bool RatiosRanAway(const Eigen::ArrayXd& ratio,
                          const Eigen::ArrayXd& mask, double threshold) {
  return threshold > 0 && MaskedMean(ratio, mask) > threshold;
}

struct PpoValueOptions {
  double clip = 0.2;  // new values stay within old_value +- clip; 0: free
};

struct PpoValueResult {
  Eigen::ArrayXd loss;     // [N], with the factor 1/2
  Eigen::ArrayXd d_value;  // [N] d sum(loss) / d value
  Eigen::ArrayXd clipped;  // [N] 1 where the clipped branch is the larger
};

// loss = 1/2 max((v - R)^2, (clip(v, v_old - e, v_old + e) - R)^2). All [N].
// Source: OpenAI baselines ppo2; Huang et al. 2024 (arXiv 2403.17031), 18.
inline PpoValueResult PpoValueLoss(const Eigen::ArrayXd& value,
                                   const Eigen::ArrayXd& old_value,
                                   const Eigen::ArrayXd& returns,
                                   const PpoValueOptions& options = {}) {
  if (options.clip == 0) {
    return {0.5 * (value - returns).square(), value - returns,
            Eigen::ArrayXd::Zero(value.size())};
  }
  const Eigen::ArrayXd limited =
      value.max(old_value - options.clip).min(old_value + options.clip);
  const Eigen::ArrayXd plain_error = value - returns;
  const Eigen::ArrayXd limited_error = limited - returns;
  const auto use_limited = limited_error.square() > plain_error.square();
  return {0.5 * plain_error.square().max(limited_error.square()),
          use_limited.select(0.0, plain_error), use_limited.cast<double>()};
}

}  // namespace align::losses
