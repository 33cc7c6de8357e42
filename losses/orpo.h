#pragma once

#include <algorithm>
#include <cmath>

#include "losses/chosen_nll.h"
#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct OrpoOptions {
  double beta = 0.1;
  bool prompt_nll = false;
  NllAverage nll_average = NllAverage::kTokens;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "weight of the odds-ratio term; the paper's lambda");
    list.Flag("prompt_nll", &prompt_nll,
              "the NLL learns the prompt too (TRL), not only the chosen reply "
              "(the paper, LLaMA-Factory)");
    DescribeNllAverage(list, &nll_average);
  }
  PairNeeds Needs() const {
    return {.lengths = true,
            .coupled = nll_average == NllAverage::kTokens,
            .prompt_nll = prompt_nll};
  }
};

// A mean log-prob x <= 0, the probability 1 - p of its complement, and the
// slope 1 / (1 - p) of log(p / (1 - p)). A reply of probability 1 has infinite
// odds: x stays below -1e-9, where the slope turns 0.
struct Odds {
  double log_p, complement, slope;
};
inline Odds OddsOf(double x) {
  constexpr double kHighest = -1e-9;
  const double low = std::min(x, kHighest);
  const double complement = -ExpAndExpm1(low).exp_minus_1;
  return {low, complement, x <= kHighest ? 1 / complement : 0.0};
}

// log odds(w) - log odds(l), with one logarithm for both complements.
inline double LogOddsRatio(const Odds& w, const Odds& l) {
  return w.log_p - l.log_p - std::log(w.complement / l.complement);
}

// ORPO: NLL of the chosen reply and the odds ratio of mean log-probs, with
// odds = p / (1 - p), p = exp(log pi / T):
//   loss = NLL(y_w) - beta log sigmoid(log odds(y_w) - log odds(y_l))
// Hong et al. 2024 (arXiv 2403.07691), eq. 6 and 7. Rewards are beta * mean
// log-prob, as TRL's; metrics are its log_odds_chosen, the difference of the
// log odds, and log_odds_ratio, the log sigmoid of that.
inline PairLossResult OrpoPairLoss(const PairInputs& in,
                                   const OrpoOptions& options) {
  PairScores scores = ScorePairs(in, {.reference_free = true});
  AverageOverTokens(in, scores);
  PairLossResult out = ZeroResult(in, options.beta);
  out.chosen_rewards = options.beta * scores.chosen;
  out.rejected_rewards = options.beta * scores.rejected;
  Eigen::ArrayXd &difference = out.metrics["log_odds_chosen"],
                 &ratio = out.metrics["log_odds_ratio"];
  difference = ratio = out.loss;
  for (Eigen::Index i = 0; i < out.loss.size(); ++i) {
    const Odds w = OddsOf(scores.chosen[i]), l = OddsOf(scores.rejected[i]);
    difference[i] = LogOddsRatio(w, l);
    const LogisticValues s = Logistic(difference[i]);
    ratio[i] = s.log_p;
    out.loss[i] = -options.beta * s.log_p;
    const double slope = -options.beta * s.q;
    out.d_policy_chosen[i] = slope * w.slope * scores.chosen_slope[i];
    out.d_policy_rejected[i] = -slope * l.slope * scores.rejected_slope[i];
  }
  AddChosenNll(in, 1.0, options.nll_average, out);
  return out;
}

}  // namespace align::losses
