#pragma once

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct SigmoidOptions {
  double beta = 0.1;
  double label_smoothing = 0.0;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Number("label_smoothing", &label_smoothing, {.low = 0, .high = 0.5},
                "probability that a label is wrong (cDPO). TRL <= 0.24, "
                "OpenRLHF and torchtune apply it; TRL 1.x ignores it here");
    score.Describe(list);
  }
  PairNeeds Needs() const { return {.reference = !score.reference_free}; }
};

// DPO. With the margin d = (score of chosen) - (score of rejected), a score
// being log pi/ref unless score.h says otherwise:
//   loss = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d)
// Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; smoothing e: Mitchell 2023,
// "A note on DPO with noisy preferences", eq. 3. RSO's sigmoid-norm is this
// with gamma = beta (Liu et al. 2023, arXiv 2309.06657, eq. 8).
inline PairLossResult SigmoidPairLoss(const PairInputs& in,
                                      const SigmoidOptions& options) {
  return MarginLoss(
      in, ScorePairs(in, options.score), options.beta, options.beta,
      [&](double x) { return SmoothedLogistic(x, options.label_smoothing); });
}

struct SigmoidNormOptions {
  double beta = 0.1;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the margin per token; larger than DPO's, which sums");
    score.Describe(list);
  }
  PairNeeds Needs() const {
    return {.reference = !score.reference_free, .lengths = true};
  }
};

// DPO on scores per token: with T the token counts (at least 1),
//   loss = -log sigmoid(beta (s_chosen / T_chosen - s_rejected / T_rejected))
// Lambert et al. 2024 (Tulu 3, arXiv 2411.15124), eq. 6; TRL 1.x's name. Not
// RSO's "sigmoid-norm", which is plain DPO (rso_sigmoid_norm).
inline PairLossResult SigmoidNormPairLoss(const PairInputs& in,
                                          const SigmoidNormOptions& options) {
  PairScores scores = ScorePairs(in, options.score);
  AverageOverTokens(in, scores);
  return MarginLoss(in, scores, options.beta, options.beta,
                    [](double x) { return SmoothedLogistic(x, 0); });
}

}  // namespace align::losses
