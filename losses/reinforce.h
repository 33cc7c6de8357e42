#pragma once

#include "losses/options.h"
#include "losses/policy.h"
#include "losses/policy_terms.h"
#include "losses/surrogate.h"

namespace align::losses {

struct ReinforceOptions {
  void Describe(OptionList& /*list*/) {}
};

// -A log pi, without a ratio: Williams 1992. REINFORCE++ and ReMax differ in
// their advantages; verl's gpg.
struct ReinforceRule {
  static constexpr bool kOwnSamplerWeights = false;

  SurrogateStep operator()(const SurrogatePoint& at) const {
    SurrogateStep step;
    step.value = -at.advantage * at.log_prob;
    step.by_log_prob = -at.advantage;
    return step;
  }
};

inline PolicyResult ReinforceLoss(const PolicyInputs& in,
                                  const ReinforceOptions& /*options*/,
                                  const PolicyTerms& terms) {
  return SurrogateLoss(in, terms, RatioLevel::kToken, ReinforceRule{});
}

}  // namespace align::losses
