#pragma once

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct SppoOptions {
  double beta = 0.1;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "targets are +-1 / (2 beta); the paper's eta is 1 / beta");
    score.Describe(list);
  }
  PairNeeds Needs() const { return {.reference = !score.reference_free}; }
};

// SPPO with hard labels: scores regress on the win rate, 1 or 0:
//   loss = (s_w - 1 / (2 beta))^2 + (s_l + 1 / (2 beta))^2
// Wu et al. 2024 (arXiv 2405.00675), eq. 4.9 with P = 1. Scores are sums over
// tokens: long replies dominate.
inline PairLossResult SppoHardPairLoss(const PairInputs& in,
                                       const SppoOptions& options) {
  const double target = 1.0 / (2.0 * options.beta);
  // SeparateLoss scales scores by beta; here they are wanted as they are.
  const auto square = [&](double scaled, double wanted) -> ValueSlope {
    const double x = scaled / options.beta - wanted;
    return {x * x, 2 * x / options.beta};
  };
  return SeparateLoss(
      in, ScorePairs(in, options.score), options.beta,
      [&](double x) { return square(x, target); },
      [&](double x) { return square(x, -target); });
}

}  // namespace align::losses
