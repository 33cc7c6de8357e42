#pragma once

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/pair.h"

namespace align::losses {

struct HingeOptions {
  double beta = 0.1;
  bool reference_free = false;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the margin; RSO's gamma");
    list.Flag("reference_free", &reference_free,
              "score log-probs instead of log-ratios: SLiC's hinge");
  }
};

// With d as in sigmoid.h: loss = max(0, 1 - beta d), subgradient 0 at the kink.
// RSO's hinge-norm (Liu et al. 2023, arXiv 2309.06657, eq. 10, gamma = beta);
// reference-free it is SLiC's hinge (Zhao et al. 2023, arXiv 2305.10425).
inline PairLossResult HingePairLoss(const PairInputs& in,
                                    const HingeOptions& options) {
  const PairLogRatios s = Scores(in, options.reference_free);
  const Eigen::ArrayXd x = 1.0 - options.beta * (s.chosen - s.rejected);
  const Eigen::ArrayXd loss = x.max(0.0);
  const Eigen::ArrayXd d_margin = -options.beta * (x > 0.0).cast<double>();
  return FromMargin(in, options.beta, loss, d_margin);
}

}  // namespace align::losses
