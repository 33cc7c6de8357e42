#pragma once

#include <algorithm>
#include <cmath>

#include "losses/chosen_nll.h"
#include "losses/hinge.h"
#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

enum class CpoForm { kSigmoid, kHinge, kIpo };

struct CpoOptions {
  double beta = 0.1;
  CpoForm form = CpoForm::kSigmoid;
  double label_smoothing = 0.0;
  double cpo_alpha = 1.0;
  NllAverage nll_average = NllAverage::kTokens;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the margin; for ipo the target is 1 / (2 beta)");
    list.Choice("form", &form,
                {{"sigmoid", CpoForm::kSigmoid},
                 {"hinge", CpoForm::kHinge},
                 {"ipo", CpoForm::kIpo}},
                "of the preference term; ipo takes means per token (TRL)");
    list.Number("label_smoothing", &label_smoothing, {.low = 0, .high = 0.5},
                "probability that a label is wrong; sigmoid alone");
    list.Number("cpo_alpha", &cpo_alpha, {.low = 0},
                "weight of the NLL of the chosen reply");
    DescribeNllAverage(list, &nll_average);
  }
  PairNeeds Needs() const {
    const bool learns = cpo_alpha > 0;
    return {.lengths = form == CpoForm::kIpo ||
                       (learns && nll_average != NllAverage::kSum),
            .coupled = learns && nll_average == NllAverage::kTokens};
  }
};

// Rewards of losses without a reference: beta * score.
inline void SetRewards(const PairScores& scores, double beta,
                       PairLossResult& out) {
  out.chosen_rewards = beta * scores.chosen;
  out.rejected_rewards = beta * scores.rejected;
}

// CPO: DPO with a uniform reference, and NLL of the chosen reply:
//   loss = -log sigmoid(beta (log pi(y_w) - log pi(y_l))) + alpha NLL(y_w)
// Xu et al. 2024 (arXiv 2401.08417), eq. 3 and 4; hinge and ipo are TRL's.
inline PairLossResult CpoPairLoss(const PairInputs& in,
                                  const CpoOptions& options) {
  PairScores scores = ScorePairs(in, {.reference_free = true});
  if (options.form == CpoForm::kIpo) AverageOverTokens(in, scores);
  const double beta = options.beta, target = 1 / (2 * beta);
  const auto rule = [&](double x) -> ValueSlope {
    if (options.form == CpoForm::kHinge) return Hinge(x);
    if (options.form == CpoForm::kSigmoid) {
      return SmoothedLogistic(x, options.label_smoothing);
    }
    const double off = x / beta - target;
    return {off * off, 2 * off / beta};
  };
  PairLossResult out = MarginLoss(in, scores, beta, beta, rule);
  SetRewards(scores, beta, out);
  if (options.cpo_alpha > 0) {
    AddChosenNll(in, options.cpo_alpha, options.nll_average, out);
  }
  return out;
}

struct SimpoOptions {
  double beta = 2.0;
  double gamma = 1.0;
  double alpha = 0.0;
  double label_smoothing = 0.0;
  double cpo_alpha = 0.0;
  NllAverage nll_average = NllAverage::kTokens;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the mean log-prob; 2 to 2.5 in the paper, 0.1 by "
                "default in TRL and LLaMA-Factory");
    list.Number("gamma", &gamma, {.low = 0},
                "margin that is wanted; TRL's simpo_gamma, 0.5 there");
    list.Number("alpha", &alpha, {},
                "shape of AlphaPO's reward; 0 is SimPO's log-prob");
    list.Number("label_smoothing", &label_smoothing, {.low = 0, .high = 0.5},
                "probability that a label is wrong");
    list.Number("cpo_alpha", &cpo_alpha, {.low = 0},
                "weight of the NLL of the chosen reply: CPO-SimPO. 0 here, 1 "
                "by default in TRL");
    DescribeNllAverage(list, &nll_average);
  }
  PairNeeds Needs() const {
    return {.lengths = true,
            .coupled = cpo_alpha > 0 && nll_average == NllAverage::kTokens};
  }
};

struct AlphaPoOptions : SimpoOptions {
  AlphaPoOptions() {
    beta = 2.5;
    alpha = 0.25;
  }
};

// (1 - exp(-alpha x)) / alpha, x at alpha = 0, for a mean log-prob x: AlphaPO's
// reward.
inline ValueSlope AlphaReward(double x, double alpha) {
  if (alpha == 0) return {x, 1};
  const double exponent = -alpha * x;
  const ExpPair e = ExpAndExpm1(std::min(exponent, kMaxExponent));
  return {-e.exp_minus_1 / alpha, exponent <= kMaxExponent ? e.exp : 0.0};
}

// SimPO: mean log-probs m = log pi / T are the reward, no reference:
//   loss = -log sigmoid(beta (m_w - m_l) - gamma)
// Meng et al. 2024 (arXiv 2405.14734), eq. 6. AlphaPO puts (1 - exp(-alpha m))
// / alpha for m: Gupta et al. 2025 (arXiv 2501.03884), eq. 8.
inline PairLossResult SimpoPairLoss(const PairInputs& in,
                                    const SimpoOptions& options) {
  PairScores scores = ScorePairs(in, {.reference_free = true});
  AverageOverTokens(in, scores);
  for (Eigen::Index i = 0; i < scores.chosen.size(); ++i) {
    const ValueSlope w = AlphaReward(scores.chosen[i], options.alpha);
    const ValueSlope l = AlphaReward(scores.rejected[i], options.alpha);
    scores.chosen[i] = w.value;
    scores.chosen_slope[i] *= w.slope;
    scores.rejected[i] = l.value;
    scores.rejected_slope[i] *= l.slope;
  }
  PairLossResult out =
      MarginLoss(in, scores, options.beta, options.beta, [&](double x) {
        return SmoothedLogistic(x - options.gamma, options.label_smoothing);
      });
  SetRewards(scores, options.beta, out);
  if (options.cpo_alpha > 0) {
    AddChosenNll(in, options.cpo_alpha, options.nll_average, out);
  }
  return out;
}

inline PairLossResult AlphaPoPairLoss(const PairInputs& in,
                                      const AlphaPoOptions& options) {
  return SimpoPairLoss(in, options);
}

}  // namespace align::losses
