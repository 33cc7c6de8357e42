#pragma once

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct NcaOptions {
  double beta = 0.1;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    score.Describe(list);
  }
  PairNeeds Needs() const { return {.reference = !score.reference_free}; }
};

// NCA for pairs. With scores s:
//   loss = -log sigmoid(beta s_w)
//          - 1/2 log sigmoid(-beta s_w) - 1/2 log sigmoid(-beta s_l)
// It also keeps the likelihood of the chosen reply from falling. Chen et al.
// 2024 (arXiv 2402.05369), eq. 8 with K = 2.
inline PairLossResult NcaPairLoss(const PairInputs& in,
                                  const NcaOptions& options) {
  const auto chosen = [](double x) -> ValueSlope {
    const LogisticValues s = Logistic(x);
    return {-s.log_p - 0.5 * s.log_q, -s.q + 0.5 * s.p};
  };
  const auto rejected = [](double x) -> ValueSlope {
    const LogisticValues s = Logistic(x);
    return {-0.5 * s.log_q, 0.5 * s.p};
  };
  return SeparateLoss(in, ScorePairs(in, options.score), options.beta, chosen,
                      rejected);
}

}  // namespace align::losses
