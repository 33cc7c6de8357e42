#pragma once

#include <cmath>

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/pair.h"

namespace align::losses {

struct SigmoidOptions {
  double beta = 0.1;
  double label_smoothing = 0.0;
  bool reference_free = false;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Number("label_smoothing", &label_smoothing, {.low = 0, .high = 0.5},
                "probability that a label is wrong (cDPO). TRL <= 0.24, "
                "OpenRLHF and torchtune apply it; TRL 1.x ignores it here");
    list.Flag("reference_free", &reference_free,
              "score log-probs instead of log-ratios; rewards keep the "
              "reference");
  }
};

// DPO. With the margin d = (log pi/ref of chosen) - (log pi/ref of rejected):
//   loss = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d)
// Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; smoothing e: Mitchell 2023,
// "A note on DPO with noisy preferences", eq. 3. RSO's sigmoid-norm is this
// with gamma = beta (Liu et al. 2023, arXiv 2309.06657, eq. 8).
inline PairLossResult SigmoidPairLoss(const PairInputs& in,
                                      const SigmoidOptions& options) {
  const double beta = options.beta, e = options.label_smoothing;
  const PairLogRatios s = Scores(in, options.reference_free);
  const Eigen::ArrayXd x = beta * (s.chosen - s.rejected);
  const Eigen::ArrayXd loss =
      -(1 - e) * LogSigmoid(x) - e * LogSigmoid(Eigen::ArrayXd(-x));
  const Eigen::ArrayXd d_margin =
      beta * (-(1 - e) * Sigmoid(Eigen::ArrayXd(-x)) + e * Sigmoid(x));
  return FromMargin(in, beta, loss, d_margin);
}

}  // namespace align::losses
