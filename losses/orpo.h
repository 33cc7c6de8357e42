#pragma once

#include <algorithm>
#include <cmath>

#include "losses/chosen_nll.h"
#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/pair.h"

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

// A mean log-prob, p = exp(log_p), and the probability 1 - p of its complement.
// A reply of probability 1 has infinite odds: log_p stays below -1e-9.
struct Odds {
  double log_p, p, complement;
};
constexpr double kHighestMeanLogProb = -1e-9;
inline Odds OddsOf(double x) {
  const double low = std::min(x, kHighestMeanLogProb);
  const ExpPair e = ExpAndExpm1(low);
  return {low, e.exp, -e.exp_minus_1};
}

// x = log odds(w) - log odds(l), log sigmoid(x) and sigmoid(-x): one logarithm
// for both complements, and exp(-|x|) without an exponential as the ratio of
// the odds, unless a probability is too small to have all its digits.
struct OddsRatio {
  double log, log_sigmoid, slope;
};
inline OddsRatio OddsRatioOf(const Odds& w, const Odds& l) {
  const double x = w.log_p - l.log_p - std::log(w.complement / l.complement);
  if (std::min(w.log_p, l.log_p) < -600) {
    const LogisticValues s = Logistic(x);
    return {x, s.log_p, s.q};
  }
  const double a = w.p * l.complement, b = l.p * w.complement;
  const double most = std::max(a, b), inverse = 1 / (a + b);
  return {x,
          std::min(x, 0.0) - Log1pUnit(std::min(a, b) / most, most * inverse),
          b * inverse};
}

// ORPO: NLL of the chosen reply and the odds ratio of mean log-probs, with
// odds = p / (1 - p), p = exp(log pi / T):
//   loss = NLL(y_w) - beta log sigmoid(log odds(y_w) - log odds(y_l))
// Hong et al. 2024 (arXiv 2403.07691), eq. 6 and 7. Rewards are beta * mean
// log-prob, as TRL's; metrics are its log_odds_chosen, the difference of the
// log odds, and log_odds_ratio, the log sigmoid of that.
inline PairLossResult OrpoPairLoss(const PairInputs& in,
                                   const OrpoOptions& options) {
  const Eigen::ArrayXd chosen_tokens = in.chosen_tokens.max(1.0);
  const Eigen::ArrayXd rejected_tokens = in.rejected_tokens.max(1.0);
  const Eigen::ArrayXd chosen = in.policy_chosen / chosen_tokens;
  const Eigen::ArrayXd rejected = in.policy_rejected / rejected_tokens;
  PairLossResult out = ZeroResult(in, options.beta);
  out.chosen_rewards = options.beta * chosen;
  out.rejected_rewards = options.beta * rejected;
  Eigen::ArrayXd &difference = out.metrics["log_odds_chosen"],
                 &ratio = out.metrics["log_odds_ratio"];
  difference = ratio = out.loss;
  for (Eigen::Index i = 0; i < out.loss.size(); ++i) {
    const Odds w = OddsOf(chosen[i]), l = OddsOf(rejected[i]);
    const OddsRatio odds = OddsRatioOf(w, l);
    difference[i] = odds.log;
    ratio[i] = odds.log_sigmoid;
    out.loss[i] = -options.beta * odds.log_sigmoid;
    // d log odds / d log p = 1 / (1 - p), and 0 where it is held.
    const double slope = -options.beta * odds.slope;
    if (chosen[i] <= kHighestMeanLogProb) {
      out.d_policy_chosen[i] = slope / (w.complement * chosen_tokens[i]);
    }
    if (rejected[i] <= kHighestMeanLogProb) {
      out.d_policy_rejected[i] = -slope / (l.complement * rejected_tokens[i]);
    }
  }
  AddChosenNll(in, 1.0, options.nll_average, out);
  return out;
}

}  // namespace align::losses
