#pragma once

#include <algorithm>
#include <cmath>

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct DiscopopOptions {
  double beta = 0.1;
  double tau = 0.05;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Number("tau", &tau, {.low = 0, .open_low = true},
                "temperature of the blend; TRL's discopop_tau");
    score.Describe(list);
  }
  PairNeeds Needs() const { return {.reference = !score.reference_free}; }
};

// DiscoPOP, the log-ratio modulated loss, found by a search over programs. With
// x = beta d and m = sigmoid(x / tau):
//   loss = (1 - m) (-log sigmoid(x)) + m exp(-x)
// Lu et al. 2024 (arXiv 2406.08414), eq. 6 and appendix E.6.
inline PairLossResult DiscopopPairLoss(const PairInputs& in,
                                       const DiscopopOptions& options) {
  const double tau = options.tau;
  const auto rule = [tau](double x) -> ValueSlope {
    const LogisticValues s = Logistic(x), m = Logistic(x / tau);
    // exp(-x) is the ratio of sigmoid(-x) and sigmoid(x), as long as neither
    // has underflowed; far below zero m exp(-x) is 0 * inf, and one
    // exponential.
    const double exponent = x > -600 ? 0.0 : m.log_p - x;
    const double blend =
        x > -600 ? m.p * s.q / s.p : std::exp(std::min(exponent, kMaxExponent));
    const double blend_slope =
        exponent <= kMaxExponent ? blend * (m.q / tau - 1) : 0.0;
    const double slope = m.p * m.q / tau;  // of m
    return {-m.q * s.log_p + blend, slope * s.log_p - m.q * s.q + blend_slope};
  };
  return MarginLoss(in, ScorePairs(in, options.score), options.beta,
                    options.beta, rule);
}

}  // namespace align::losses
