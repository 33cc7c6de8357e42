#pragma once

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct ApoZeroOptions {
  double beta = 0.1;
  bool reference_free = false;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the log-ratios; gradients vanish far from 0");
    list.Flag("reference_free", &reference_free,
              "score log-probs instead of log-ratios");
  }
  PairNeeds Needs() const { return {.reference = !reference_free}; }
};

// APO-zero: chosen up, rejected down, for chosen replies better than the model.
// With log-ratios r:
//   loss = 1 - sigmoid(beta r_w) + sigmoid(beta r_l)
// D'Oosterlinck et al. 2024 (arXiv 2408.06266), eq. 5.
inline PairLossResult ApoZeroPairLoss(const PairInputs& in,
                                      const ApoZeroOptions& options) {
  const auto chosen = [](double x) -> ValueSlope {
    const LogisticValues s = Logistic(x);
    return {s.q, -s.p * s.q};
  };
  const auto rejected = [](double x) -> ValueSlope {
    const LogisticValues s = Logistic(x);
    return {s.p, s.p * s.q};
  };
  const PairScores scores =
      ScorePairs(in, {.reference_free = options.reference_free});
  return SeparateLoss(in, scores, options.beta, chosen, rejected);
}

struct ApoDownOptions {
  double beta = 0.1;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the log-ratios; gradients vanish far from 0");
    score.Describe(list);
  }
  PairNeeds Needs() const { return {.reference = !score.reference_free}; }
};

// APO-down: both down, the rejected more, for replies worse than the model.
//   loss = sigmoid(beta r_w) + 1 - sigmoid(beta d)
// r_w is the chosen reply's log-ratio and d the margin of scores; only the
// margin follows f_divergence, as in TRL 1.x. arXiv 2408.06266, eq. 6.
inline PairLossResult ApoDownPairLoss(const PairInputs& in,
                                      const ApoDownOptions& options) {
  const double beta = options.beta;
  PairLossResult out = MarginLoss(in, ScorePairs(in, options.score), beta, beta,
                                  [](double x) -> ValueSlope {
                                    const LogisticValues s = Logistic(x);
                                    return {s.q, -s.p * s.q};
                                  });
  const PairScores ratios =
      ScorePairs(in, {.reference_free = options.score.reference_free});
  for (Eigen::Index i = 0; i < out.loss.size(); ++i) {
    const LogisticValues s = Logistic(beta * ratios.chosen[i]);
    out.loss[i] += s.p;
    out.d_policy_chosen[i] += beta * s.p * s.q;
  }
  return out;
}

}  // namespace align::losses
