#pragma once

#include "losses/chosen_nll.h"
#include "losses/hinge.h"
#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct SlicOptions {
  double beta = 1.0;
  double delta = 1.0;
  double regularization = 0.1;
  NllAverage nll_average = NllAverage::kSum;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of log-probs and of the reported rewards; 1 in the "
                "paper");
    list.Number("delta", &delta, {.low = 0}, "margin that is enough");
    list.Number("regularization", &regularization, {.low = 0},
                "lambda: weight of the NLL of the target");
    DescribeNllAverage(list, &nll_average);
  }
  PairNeeds Needs() const {
    const bool learns = regularization > 0;
    return {.lengths = learns && nll_average != NllAverage::kSum,
            .coupled = learns && nll_average == NllAverage::kTokens};
  }
};

// SLiC: rank calibration with a regulariser,
//   loss = max(0, delta - beta (log pi(y_w) - log pi(y_l))) + lambda NLL(y)
// without a reference; y is the chosen reply (SLiC-HF's choice when there is no
// other target). Zhao et al. 2023 (arXiv 2305.10425), eq. 1.
inline PairLossResult SlicPairLoss(const PairInputs& in,
                                   const SlicOptions& options) {
  PairLossResult out = MarginLoss(
      in, ScorePairs(in, {.reference_free = true}), options.beta, options.beta,
      [&](double x) { return Hinge(x + 1 - options.delta); });
  if (options.regularization > 0) {
    AddChosenNll(in, options.regularization, options.nll_average, out);
  }
  return out;
}

}  // namespace align::losses
