#pragma once

#include <algorithm>
#include <vector>

#include "losses/options.h"
#include "losses/policy.h"
#include "losses/policy_terms.h"
#include "losses/surrogate.h"

namespace align::losses {

struct CispoOptions {
  double ratio_low = 0;
  double ratio_high = 5;

  void Describe(OptionList& list) {
    list.Number("ratio_low", &ratio_low, {.low = 0},
                "the weight is at least this: the paper and TRL none; verl and "
                "NeMo-RL 1 - clip");
    list.Number("ratio_high", &ratio_high, {.low = 0, .open_low = true},
                "the weight is at most this: TRL's epsilon_high (5 in "
                "ScaleRL), 1 + epsilon_high in the paper, verl and NeMo-RL");
  }
};

// -sg(clip(rho, ratio_low, ratio_high)) A log pi: no token loses its gradient.
// MiniMax 2025 (arXiv 2506.13585), eq. 4 and 5.
struct CispoRule {
  static constexpr bool kOwnSamplerWeights = false;
  CispoOptions options;

  SurrogateStep operator()(const SurrogatePoint& at) const {
    const double weight =
        Clip(at.ratio, options.ratio_low, options.ratio_high) * at.advantage;
    SurrogateStep step;
    step.value = -weight * at.log_prob;
    step.by_log_prob = -weight;
    if (at.ratio > options.ratio_high && at.advantage > 0) {
      step.clipped = ClipSide::kHigh;
    }
    return step;
  }

  void AddMetrics(const ClipShares& clips,
                  std::vector<PolicyMetric>& metrics) const {
    metrics.push_back({"cispo_clip_ratio", clips.high});
  }
};

inline PolicyResult CispoLoss(const PolicyInputs& in,
                              const CispoOptions& options,
                              const PolicyTerms& terms) {
  return SurrogateLoss(in, terms, RatioLevel::kToken, CispoRule{options});
}

}  // namespace align::losses
