#pragma once

// The clipped ratio of PPO and of every loss that differs from it in the level
// of the ratio, its bounds and the average alone: grpo, bnpo, dr_grpo, dapo,
// luspo, gspo, rloo.

#include <algorithm>
#include <string>
#include <vector>

#include "losses/options.h"
#include "losses/policy.h"
#include "losses/policy_terms.h"
#include "losses/surrogate.h"

namespace align::losses {

struct ClippedRatioOptions {
  double epsilon = 0.2;
  double epsilon_high = 0.2;
  double delta = 0;
  double dual_clip = 0;
  RatioLevel level = RatioLevel::kToken;

  void Describe(OptionList& list) {
    list.Number("epsilon", &epsilon, {.low = 0},
                "ratios are clipped to at least 1 - epsilon");
    list.Number("epsilon_high", &epsilon_high, {.low = 0},
                "and to at most 1 + epsilon_high: 0.28 is DAPO's clip-higher; "
                "gspo 4e-4 (paper), 0.2 (TRL's default)");
    list.Number(
        "delta", &delta, {.low = 0},
        "the unclipped ratio is at most this, a bound on the loss where "
        "the advantage is negative (two-sided clip of INTELLECT-2, "
        "TRL); 0 is off");
    list.Number("dual_clip", &dual_clip, {.low = 0},
                "where the advantage is negative the loss is at most "
                "-dual_clip A (Ye et al. 2019, arXiv 1912.09729, eq. 5; verl "
                "3, OpenRLHF, NeMo-RL). As delta above 1 + epsilon_high; 0 is "
                "off");
    list.Choice("importance_sampling_level", &level,
                {{"token", RatioLevel::kToken},
                 {"sequence", RatioLevel::kSequence},
                 {"sequence_token", RatioLevel::kSequenceToken},
                 {"sequence_product", RatioLevel::kSequenceProduct}},
                "the ratio of a token, the geometric mean of a sequence's "
                "(sequence: TRL, OpenRLHF's gspo; sequence_token: with the "
                "gradient to each token alone, verl's gspo) or their product "
                "(sequence_product: TRL's rloo)");
  }
};

// -min(min(rho, delta) A, clip(rho, 1 - epsilon, 1 + epsilon_high) A), and at
// most -dual_clip A where A < 0. Schulman et al. 2017 (arXiv 1707.06347), eq. 7
// with the sign turned.
struct ClippedRatioRule {
  static constexpr bool kOwnSamplerWeights = false;
  ClippedRatioOptions options;

  SurrogateStep operator()(const SurrogatePoint& at) const {
    const double low = 1 - options.epsilon, high = 1 + options.epsilon_high;
    const double a = at.advantage, rho = at.ratio;
    const bool above = options.delta > 0 && rho > options.delta;
    const double free = (above ? options.delta : rho) * a;
    const double limited = Clip(rho, low, high) * a;
    // d rho / d log rho = rho, and 0 of whichever bound is in force.
    const bool bounded = free <= limited ? above : rho < low || rho > high;
    SurrogateStep step;
    step.value = -std::min(free, limited);
    step.by_log_ratio = bounded ? 0.0 : -rho * a;
    if (options.dual_clip > 0 && a < 0 && step.value > -options.dual_clip * a) {
      step.value = -options.dual_clip * a;
      step.by_log_ratio = 0;
      step.dual_clipped = true;
    }
    if (rho < low && a < 0) step.clipped = ClipSide::kLow;
    if (rho > high && a > 0) step.clipped = ClipSide::kHigh;
    return step;
  }

  void AddMetrics(const ClipShares& clips,
                  std::vector<PolicyMetric>& metrics) const {
    const double any = clips.low.weight > 0 ? 1 : 0;
    const WeightedSum region = {clips.low.sum + clips.high.sum,
                                clips.low.weight};
    metrics.push_back({"clip_ratio/low_mean", clips.low});
    metrics.push_back(
        {"clip_ratio/low_min", {any * clips.low_min, any}, MetricKind::kMin});
    metrics.push_back({"clip_ratio/high_mean", clips.high});
    metrics.push_back(
        {"clip_ratio/high_max", {any * clips.high_max, any}, MetricKind::kMax});
    metrics.push_back({"clip_ratio/region_mean", region});
    if (options.dual_clip > 0) {
      metrics.push_back({"actor/pg_clipfrac_lower", clips.dual});
    }
  }
};

inline PolicyResult ClippedRatioLoss(const PolicyInputs& in,
                                     const ClippedRatioOptions& options,
                                     const PolicyTerms& terms) {
  return SurrogateLoss(in, terms, options.level, ClippedRatioRule{options});
}

}  // namespace align::losses
