#pragma once

#include <cmath>

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct ExoOptions {
  double beta = 0.1;
  double label_smoothing = 1e-3;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Number("label_smoothing", &label_smoothing,
                {.low = 0, .high = 0.5, .open_low = true},
                "probability given to the rejected reply; 0 has no limit. TRL "
                "<= 0.24 reads 0 as 1e-3, TRL 1.x takes log(0)");
    score.Describe(list);
  }
  PairNeeds Needs() const { return {.reference = !score.reference_free}; }
};

// EXO: the reverse KL from the model's preference, p = sigmoid(beta d), to
// labels that are right with probability 1 - e:
//   loss = p (log p - log(1 - e)) + (1 - p) (log(1 - p) - log e)
// Ji et al. 2024 (arXiv 2402.00856), eq. 16.
inline PairLossResult ExoPairLoss(const PairInputs& in,
                                  const ExoOptions& options) {
  const double log_right = std::log1p(-options.label_smoothing);
  const double log_wrong = std::log(options.label_smoothing);
  const auto rule = [=](double x) -> ValueSlope {
    const LogisticValues s = Logistic(x);
    const double right = s.log_p - log_right, wrong = s.log_q - log_wrong;
    // p' = p q, and the slopes of the two logarithms cancel: p q - q p = 0.
    return {s.p * right + s.q * wrong, s.p * s.q * (right - wrong)};
  };
  return MarginLoss(in, ScorePairs(in, options.score), options.beta,
                    options.beta, rule);
}

}  // namespace align::losses
