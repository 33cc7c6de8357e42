#pragma once

// Rewards of tokens, and what they add up to from a token on.

#include <Eigen/Core>

#include "losses/numerics.h"

namespace align::losses {

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
// Schulman et al. 2015 (arXiv 1506.02438), eq. 16. Steps whose `mask` is 0 are
// skipped as if they were not there: their reward and value are not read, and
// what they give back is 0. An empty mask skips none.
inline GaeResult Gae(const Eigen::ArrayXd& rewards,
                     const Eigen::ArrayXd& values,
                     const GaeOptions& options = {},
                     const Eigen::ArrayXd& mask = {}) {
  GaeResult out{Eigen::ArrayXd::Zero(rewards.size()),
                Eigen::ArrayXd::Zero(rewards.size())};
  double next_value = 0, next_advantage = 0;
  for (Eigen::Index t = rewards.size() - 1; t >= 0; --t) {
    if (mask.size() > 0 && mask[t] == 0) continue;
    const double delta = rewards[t] + options.gamma * next_value - values[t];
    next_advantage = delta + options.gamma * options.lambda * next_advantage;
    next_value = values[t];
    out.advantages[t] = next_advantage;
    out.returns[t] = next_advantage + values[t];
  }
  return out;
}

// G_t = r_t + gamma G_{t+1} over the steps whose mask is not 0, as Gae does.
inline Eigen::ArrayXd ReturnsToGo(const Eigen::ArrayXd& rewards, double gamma,
                                  const Eigen::ArrayXd& mask = {}) {
  return Gae(rewards, Eigen::ArrayXd::Zero(rewards.size()),
             {.gamma = gamma, .lambda = 1}, mask)
      .advantages;
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
