#pragma once

// Clipped policy and value losses of PPO (Schulman et al. 2017, arXiv
// 1707.06347), token by token, un-reduced. Multiply by mask / sum(mask) for the
// masked mean that TRL and Huang et al. 2024 use.

#include "losses/numerics.h"

namespace align::losses {

struct PpoPolicyOptions {
  double clip_low = 0.2;   // ratio is clipped to [1 - clip_low,
  double clip_high = 0.2;  //                      1 + clip_high]
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
  const double low = 1 - options.clip_low, high = 1 + options.clip_high;
  const Eigen::ArrayXd ratio = (log_prob - old_log_prob).exp();
  const Eigen::ArrayXd plain = -advantages * ratio;
  const Eigen::ArrayXd limited = -advantages * ratio.max(low).min(high);
  const auto use_limited = limited > plain;
  // The clipped branch is the larger only outside the bounds, where its
  // gradient is 0; d ratio / d log_prob = ratio.
  return {plain.max(limited), use_limited.select(0.0, plain), ratio,
          use_limited.cast<double>()};
}

struct PpoValueOptions {
  double clip = 0.2;  // new values stay within old_value +- clip
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
  const Eigen::ArrayXd limited =
      value.max(old_value - options.clip).min(old_value + options.clip);
  const Eigen::ArrayXd plain_error = value - returns;
  const Eigen::ArrayXd limited_error = limited - returns;
  const auto use_limited = limited_error.square() > plain_error.square();
  return {0.5 * plain_error.square().max(limited_error.square()),
          use_limited.select(0.0, plain_error), use_limited.cast<double>()};
}

struct GaeOptions {
  double gamma = 1.0;
  double lambda = 0.95;
};

struct GaeResult {
  Eigen::ArrayXd advantages;  // [T]
  Eigen::ArrayXd returns;     // [T] advantages + values, before any whitening
};

// Generalised advantage estimation over one sequence of T steps, the value
// past the end being 0:
//   delta_t = r_t + gamma V_{t+1} - V_t
//   A_t = delta_t + gamma lambda A_{t+1}
// Schulman et al. 2015 (arXiv 1506.02438), eq. 16.
inline GaeResult Gae(const Eigen::ArrayXd& rewards,
                     const Eigen::ArrayXd& values,
                     const GaeOptions& options = {}) {
  GaeResult out{Eigen::ArrayXd(rewards.size()), {}};
  double next_value = 0, next_advantage = 0;
  for (Eigen::Index t = rewards.size() - 1; t >= 0; --t) {
    const double delta = rewards[t] + options.gamma * next_value - values[t];
    next_advantage = delta + options.gamma * options.lambda * next_advantage;
    next_value = values[t];
    out.advantages[t] = next_advantage;
  }
  out.returns = out.advantages + values;
  return out;
}

// Rewards of T tokens: -kl_coef * kl_t, plus `score` at token `score_index`
// (usually the last). Ziegler et al. 2019 (arXiv 1909.08593), eq. 2.
inline Eigen::ArrayXd KlShapedRewards(const Eigen::ArrayXd& kl, double kl_coef,
                                      double score, Eigen::Index score_index) {
  Eigen::ArrayXd rewards = -kl_coef * kl;
  if (score_index >= 0 && score_index < rewards.size()) {
    rewards[score_index] += score;
  }
  return rewards;
}

}  // namespace align::losses
