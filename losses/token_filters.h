#pragma once

// Which sampled tokens a policy loss learns from.

#include <algorithm>
#include <cmath>
#include <vector>

#include "losses/policy.h"

namespace align::losses {

// 1 where a token is kept, 0 where its sequence has drifted: its advantage is
// negative and the mean over its tokens of log pi_sampler - log pi, an estimate
// of how far the policy has moved, is above `threshold`; [N]. Without
// sampler_log_prob old_log_prob stands for it. DeepSeek-AI 2025 (DeepSeek-V3.2,
// arXiv 2512.02556), eq. 9; TRL's off_policy_mask_threshold (OPSM).
inline Eigen::ArrayXd KeepOnPolicy(const PolicyInputs& in, double threshold) {
  const Eigen::ArrayXd& sampler =
      in.sampler_log_prob.size() > 0 ? in.sampler_log_prob : in.old_log_prob;
  Eigen::ArrayXd keep = Eigen::ArrayXd::Ones(in.log_prob.size());
  if (sampler.size() == 0) return keep;
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    WeightedSum drift;
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      if (!in.Scored(t)) continue;
      drift.sum += sampler[t] - in.log_prob[t];
      drift.weight += 1;
    }
    if (drift.Mean() <= threshold) continue;
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      const double advantage = in.token_advantages.size() > 0
                                   ? in.token_advantages[t]
                                   : in.advantages[i];
      if (advantage < 0) keep[t] = 0;
    }
  }
  return keep;
}

// The `share` quantile of `values` with linear interpolation between the two
// nearest, as numpy's and torch's default; 0 of none.
inline double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const double position = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::ptrdiff_t>(std::floor(position));
  const auto at = values.begin() + below;
  std::nth_element(values.begin(), at, values.end());
  const double low = *at;
  if (at + 1 == values.end()) return low;
  const double high = *std::min_element(at + 1, values.end());
  return low + (position - static_cast<double>(below)) * (high - low);
}

// 1 for the `top` share of all scored tokens with the highest entropy, else 0;
// [N]. Wang et al. 2025 (arXiv 2506.01939), eq. 5; TRL's top_entropy_quantile.
inline Eigen::ArrayXd KeepHighEntropy(const PolicyInputs& in, double top) {
  std::vector<double> scored;
  for (Eigen::Index t = 0; t < in.entropy.size(); ++t) {
    if (in.Scored(t)) scored.push_back(in.entropy[t]);
  }
  const double threshold = Quantile(std::move(scored), 1 - top);
  return (in.entropy >= threshold).cast<double>();
}

}  // namespace align::losses
