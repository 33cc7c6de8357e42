#pragma once

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct RobustOptions {
  double beta = 0.1;
  double label_smoothing = 0.0;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Number("label_smoothing", &label_smoothing,
                {.low = 0, .high = 0.5, .open_high = true},
                "probability that a label is wrong; 0 is sigmoid");
    score.Describe(list);
  }
  PairNeeds Needs() const { return {.reference = !score.reference_free}; }
};

// DPO's loss made unbiased under labels that are wrong with probability e:
//   loss = (-(1 - e) log sigmoid(beta d) + e log sigmoid(-beta d)) / (1 - 2 e)
// Its mean over the noise is the sigmoid loss on true labels; it can be
// negative. Chowdhury et al. 2024 (arXiv 2403.00409), eq. 12.
inline PairLossResult RobustPairLoss(const PairInputs& in,
                                     const RobustOptions& options) {
  const double e = options.label_smoothing;
  const auto rule = [e](double x) -> ValueSlope {
    const LogisticValues s = Logistic(x);
    return {(-(1 - e) * s.log_p + e * s.log_q) / (1 - 2 * e),
            (-(1 - e) * s.q - e * s.p) / (1 - 2 * e)};
  };
  return MarginLoss(in, ScorePairs(in, options.score), options.beta,
                    options.beta, rule);
}

}  // namespace align::losses
