#pragma once

#include <algorithm>
#include <vector>

#include "losses/options.h"
#include "losses/policy.h"
#include "losses/policy_terms.h"
#include "losses/surrogate.h"

namespace align::losses {

struct GmpoOptions {
  double epsilon = 0.4;
  double epsilon_high = 0.4;

  void Describe(OptionList& list) {
    list.Number("epsilon", &epsilon, {.low = 0},
                "log-ratios of tokens stay above -epsilon where the advantage "
                "is negative: 0.4 in the paper, 0.2 verl's default");
    list.Number("epsilon_high", &epsilon_high, {.low = 0},
                "and below epsilon_high where it is positive");
  }
};

// -A exp(mean_t clip(r_t)), the geometric mean of ratios that are clipped token
// by token, on the side that the advantage pushes to. Zhao et al. 2025 (arXiv
// 2507.20673), eq. 4; verl's geo_mean.
struct GmpoRule {
  static constexpr bool kOwnSamplerWeights = false;
  GmpoOptions options;
  // Tokens outside the bounds on either side, as verl counts them.
  double outside_pos = 0, outside_neg = 0, tokens = 0;

  ValueSlope Limit(double log_ratio, double advantage) const {
    if (advantage > 0 && log_ratio > options.epsilon_high) {
      return {options.epsilon_high, 0.0};
    }
    if (advantage < 0 && log_ratio < -options.epsilon) {
      return {-options.epsilon, 0.0};
    }
    return advantage == 0 ? ValueSlope{0.0, 0.0} : ValueSlope{log_ratio, 1.0};
  }

  SurrogateStep operator()(const SurrogatePoint& at) {
    const double a = at.advantage, r = at.token_log_ratio;
    const bool outside = r < -options.epsilon || r > options.epsilon_high;
    tokens += 1;
    outside_pos += outside && a > 0;
    outside_neg += outside && a < 0;
    SurrogateStep step;
    step.value = step.by_log_ratio = -a * at.ratio;
    if (Limit(r, a).slope == 0 && a != 0) {
      step.clipped = a < 0 ? ClipSide::kLow : ClipSide::kHigh;
    }
    return step;
  }

  void AddMetrics(const ClipShares& clips,
                  std::vector<PolicyMetric>& metrics) const {
    metrics.push_back({"clip_ratio/low_mean", clips.low});
    metrics.push_back({"clip_ratio/high_mean", clips.high});
    metrics.push_back({"actor/pg_clipfrac", {outside_pos, tokens}});
    metrics.push_back({"actor/pg_clipfrac_lower", {outside_neg, tokens}});
  }
};

inline PolicyResult GmpoLoss(const PolicyInputs& in, const GmpoOptions& options,
                             const PolicyTerms& terms) {
  return SurrogateLoss(in, terms, RatioLevel::kSequence,
                       GmpoRule{.options = options});
}

}  // namespace align::losses
