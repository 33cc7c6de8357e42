#pragma once

// RSO's three losses under the paper's names, each with its gamma: aliases of
// sigmoid.h, hinge.h and the calibration term of slic.h. Beware of other
// libraries' names: TRL's "hinge" is the paper's hinge-norm, and TRL's
// "sigmoid_norm" (a mean per token) is not the paper's sigmoid-norm, which is
// DPO's loss.

#include "losses/hinge.h"
#include "losses/options.h"
#include "losses/pair.h"
#include "losses/sigmoid.h"

namespace align::losses {

struct RsoOptions {
  double beta = 0.05;  // the paper's gamma

  void Describe(OptionList& list) {
    list.Number("gamma", &beta, {.low = 0, .open_low = true},
                "scale of the margin; best of 0.005, 0.05, 0.5 in the paper");
  }
};

struct RsoNormOptions : RsoOptions {
  PairNeeds Needs() const { return {.reference = true}; }
};

struct RsoHingeOptions : RsoOptions {
  PairNeeds Needs() const { return {}; }
};

// -log sigmoid(gamma (r_w - r_l)), r the log-ratios. Liu et al. 2023
// (arXiv 2309.06657), eq. 8.
inline PairLossResult RsoSigmoidNormLoss(const PairInputs& in,
                                         const RsoNormOptions& options) {
  return SigmoidPairLoss(in, {.beta = options.beta});
}

// max(0, 1 - gamma (log pi(y_w) - log pi(y_l))), no reference: SLiC's, eq. 9.
inline PairLossResult RsoHingeLoss(const PairInputs& in,
                                   const RsoHingeOptions& options) {
  return HingePairLoss(
      in, {.beta = options.beta, .score = {.reference_free = true}});
}

// max(0, 1 - gamma (r_w - r_l)), eq. 10.
inline PairLossResult RsoHingeNormLoss(const PairInputs& in,
                                       const RsoNormOptions& options) {
  return HingePairLoss(in, {.beta = options.beta});
}

}  // namespace align::losses
