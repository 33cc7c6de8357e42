#pragma once

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct HingeOptions {
  double beta = 0.1;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the margin; RSO's gamma");
    score.Describe(list);
  }
  PairNeeds Needs() const { return {.reference = !score.reference_free}; }
};

// max(0, 1 - x), subgradient 0 at the kink.
inline ValueSlope Hinge(double x) {
  return x < 1 ? ValueSlope{1 - x, -1} : ValueSlope{0, 0};
}

// With d as in sigmoid.h: loss = max(0, 1 - beta d). RSO's hinge-norm (Liu et
// al. 2023, arXiv 2309.06657, eq. 10, gamma = beta); reference-free it is RSO's
// hinge, the calibration term of SLiC (slic.h).
inline PairLossResult HingePairLoss(const PairInputs& in,
                                    const HingeOptions& options) {
  return MarginLoss(in, ScorePairs(in, options.score), options.beta,
                    options.beta, Hinge);
}

}  // namespace align::losses
