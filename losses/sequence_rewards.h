#pragma once

// From what a rollout earned to one number a sequence or one a token.

#include <cmath>
#include <limits>

#include "losses/advantages.h"

namespace align::losses {

// The weighted sum of what the functions that apply to a sample gave it; NaN if
// none does, [B]. Without several functions, `rewards` as they are.
inline Eigen::ArrayXd SumRewards(const AdvantageInputs& in) {
  if (in.rewards_per_function.size() == 0) return in.rewards;
  const Eigen::ArrayXXd& all = in.rewards_per_function;
  Eigen::ArrayXd out(all.rows());
  for (Eigen::Index i = 0; i < all.rows(); ++i) {
    double sum = 0;
    bool any = false;
    for (Eigen::Index k = 0; k < all.cols(); ++k) {
      if (std::isnan(all(i, k))) continue;
      sum +=
          (in.reward_weights.empty() ? 1.0 : in.reward_weights[k]) * all(i, k);
      any = true;
    }
    out[i] = any ? sum : std::numeric_limits<double>::quiet_NaN();
  }
  return out;
}

// SumRewards plus what the scored tokens earned, [B].
inline Eigen::ArrayXd SequenceRewards(const AdvantageInputs& in) {
  Eigen::ArrayXd out = SumRewards(in);
  if (in.token_rewards.size() == 0) return out;
  for (Eigen::Index i = 0; i < out.size(); ++i) {
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      if (in.Scored(t)) out[i] += in.token_rewards[t];
    }
  }
  return out;
}

// Rewards of tokens with `scores` (one a sequence) at the last scored token of
// each, [N]; 0 where the mask is. A NaN score adds nothing.
inline Eigen::ArrayXd TokenRewards(const AdvantageInputs& in,
                                   const Eigen::ArrayXd& scores) {
  Eigen::ArrayXd out = Eigen::ArrayXd::Zero(in.offsets.back());
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    Eigen::Index last = -1;
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      if (!in.Scored(t)) continue;
      last = t;
      if (in.token_rewards.size() > 0) out[t] = in.token_rewards[t];
    }
    if (last >= 0 && !std::isnan(scores[i])) out[last] += scores[i];
  }
  return out;
}

// 1 for the scored tokens of sequences that have a score, else 0, [N].
inline Eigen::ArrayXd ScorableMask(const AdvantageInputs& in,
                                   const Eigen::ArrayXd& scores) {
  Eigen::ArrayXd out = Eigen::ArrayXd::Zero(in.offsets.back());
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    if (std::isnan(scores[i])) continue;
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      out[t] = in.Scored(t) ? 1 : 0;
    }
  }
  return out;
}

// `values` whitened over `mask`, and 0 outside it.
inline Eigen::ArrayXd WhitenedWithin(const Eigen::ArrayXd& values,
                                     const Eigen::ArrayXd& mask,
                                     const WhitenOptions& options) {
  return (mask != 0.0).select(MaskedWhiten(values, mask, options), 0.0);
}

}  // namespace align::losses
