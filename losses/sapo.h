#pragma once

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/policy.h"
#include "losses/policy_terms.h"
#include "losses/surrogate.h"

namespace align::losses {

struct SapoOptions {
  double temperature_pos = 1.0;
  double temperature_neg = 1.05;

  void Describe(OptionList& list) {
    list.Number("sapo_temperature_pos", &temperature_pos,
                {.low = 0, .open_low = true},
                "how soon the gate closes around a ratio of 1 where the "
                "advantage is positive");
    list.Number("sapo_temperature_neg", &temperature_neg,
                {.low = 0, .open_low = true},
                "the same where it is not; larger forgets sooner");
  }
};

// -(4 / tau) sigmoid(tau (rho - 1)) A: a soft gate instead of a clip, with the
// slope of rho A at rho = 1. Gao et al. 2025 (arXiv 2511.20347), eq. 5 and 6.
struct SapoRule {
  static constexpr bool kOwnSamplerWeights = false;
  SapoOptions options;

  SurrogateStep operator()(const SurrogatePoint& at) const {
    const double tau =
        at.advantage > 0 ? options.temperature_pos : options.temperature_neg;
    const LogisticValues gate = Logistic(tau * (at.ratio - 1));
    SurrogateStep step;
    step.value = -4 / tau * gate.p * at.advantage;
    step.by_log_ratio = -4 * gate.p * gate.q * at.ratio * at.advantage;
    return step;
  }
};

inline PolicyResult SapoLoss(const PolicyInputs& in, const SapoOptions& options,
                             const PolicyTerms& terms) {
  return SurrogateLoss(in, terms, RatioLevel::kToken, SapoRule{options});
}

}  // namespace align::losses
