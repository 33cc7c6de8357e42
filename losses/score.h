#pragma once

// What a loss on pairs scores a reply by: a function of its log-ratio.

#include <cmath>
#include <tuple>
#include <utility>

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/pair.h"

namespace align::losses {

enum class FDivergence { kReverseKl, kForwardKl, kJs, kAlpha };

// With the log-ratio r = log pi - log ref (log pi if reference_free), the score
// is f'(exp(r)) without its constant:
//   reverse_kl r,  forward_kl -exp(-r),  js log sigmoid(r),
//   alpha exp((alpha - 1) r) / (alpha - 1), r at alpha = 1
// Wang et al. 2023 (arXiv 2309.16240), table 1, eq. 8. TRL up to 0.24 writes
// alpha's with 1 - alpha for alpha.
struct ScoreRule {
  bool reference_free = false;
  FDivergence divergence = FDivergence::kReverseKl;
  double alpha = 0.5;
  double max_exponent = 80;

  void Describe(OptionList& list) {
    list.Flag("reference_free", &reference_free,
              "score log-probs instead of log-ratios; rewards keep the "
              "reference. TRL <= 0.24 and the DPO authors have it");
    list.Choice("f_divergence", &divergence,
                {{"reverse_kl", FDivergence::kReverseKl},
                 {"forward_kl", FDivergence::kForwardKl},
                 {"js", FDivergence::kJs},
                 {"alpha", FDivergence::kAlpha}},
                "divergence from the reference that the score comes from");
    list.Number("f_alpha", &alpha, {},
                "of the alpha divergence; 1 is reverse_kl. TRL <= 0.24 calls "
                "1 - f_alpha its coefficient");
    list.Number("f_max_exponent", &max_exponent,
                {.low = 0, .high = 709.7827, .open_low = true},
                "exponents of forward_kl and alpha stop here, gradient 0 "
                "beyond: at 80 squares still are finite. TRL 1.x stops alpha's "
                "at 80 (f32), TRL <= 0.24 where the type ends (709.7827)");
  }

  // The score of one log-ratio and its slope.
  std::pair<double, double> Score(double ratio) const {
    const bool is_alpha = divergence == FDivergence::kAlpha;
    if (divergence == FDivergence::kForwardKl) {
      const double value = std::exp(std::min(-ratio, max_exponent));
      return {-value, -ratio <= max_exponent ? value : 0.0};
    }
    if (divergence == FDivergence::kJs) {
      const LogisticValues s = Logistic(ratio);
      return {s.log_p, s.q};
    }
    const double power = alpha - 1;
    if (!is_alpha || std::abs(power) < 1e-6) return {ratio, 1.0};
    const double exponent = power * ratio;
    const double value = std::exp(std::min(exponent, max_exponent));
    return {value / power, exponent <= max_exponent ? value : 0.0};
  }
};

// Scores of both replies, and d(score) / d(log pi).
struct PairScores {
  Eigen::ArrayXd chosen, rejected;              // [B]
  Eigen::ArrayXd chosen_slope, rejected_slope;  // [B]
};

inline PairScores ScorePairs(const PairInputs& in, const ScoreRule& rule) {
  PairLogRatios ratios =
      rule.reference_free ? PairLogRatios{in.policy_chosen, in.policy_rejected}
                          : LogRatios(in);
  const Eigen::Index batch = in.policy_chosen.size();
  PairScores out{std::move(ratios.chosen), std::move(ratios.rejected),
                 Eigen::ArrayXd::Ones(batch), Eigen::ArrayXd::Ones(batch)};
  if (rule.divergence == FDivergence::kReverseKl) return out;
  for (Eigen::Index i = 0; i < batch; ++i) {
    std::tie(out.chosen[i], out.chosen_slope[i]) = rule.Score(out.chosen[i]);
    std::tie(out.rejected[i], out.rejected_slope[i]) =
        rule.Score(out.rejected[i]);
  }
  return out;
}

// Divides scores by the number of tokens; counts below 1 count as 1.
inline void AverageOverTokens(const PairInputs& in, PairScores& scores) {
  const Eigen::ArrayXd chosen = in.chosen_tokens.max(1.0);
  const Eigen::ArrayXd rejected = in.rejected_tokens.max(1.0);
  scores.chosen /= chosen;
  scores.chosen_slope /= chosen;
  scores.rejected /= rejected;
  scores.rejected_slope /= rejected;
}

// loss_i = rule(scale * (score of chosen - score of rejected)), where
// rule(double) gives a ValueSlope. Rewards are beta * log-ratio.
template <class Rule>
PairLossResult MarginLoss(const PairInputs& in, const PairScores& scores,
                          double scale, double beta, Rule rule) {
  PairLossResult out = ZeroResult(in, beta);
  for (Eigen::Index i = 0; i < out.loss.size(); ++i) {
    const ValueSlope at = rule(scale * (scores.chosen[i] - scores.rejected[i]));
    out.loss[i] = at.value;
    out.d_policy_chosen[i] = scale * at.slope * scores.chosen_slope[i];
    out.d_policy_rejected[i] = -scale * at.slope * scores.rejected_slope[i];
  }
  return out;
}

// loss_i = chosen(beta * score of chosen) + rejected(beta * score of rejected).
template <class Chosen, class Rejected>
PairLossResult SeparateLoss(const PairInputs& in, const PairScores& scores,
                            double beta, Chosen chosen, Rejected rejected) {
  PairLossResult out = ZeroResult(in, beta);
  for (Eigen::Index i = 0; i < out.loss.size(); ++i) {
    const ValueSlope w = chosen(beta * scores.chosen[i]);
    const ValueSlope l = rejected(beta * scores.rejected[i]);
    out.loss[i] = w.value + l.value;
    out.d_policy_chosen[i] = beta * w.slope * scores.chosen_slope[i];
    out.d_policy_rejected[i] = beta * l.slope * scores.rejected_slope[i];
  }
  return out;
}

// -(1 - e) log sigmoid(x) - e log sigmoid(-x): the logistic loss on a label
// that is wrong with probability e.
inline ValueSlope SmoothedLogistic(double x, double e) {
  const LogisticValues s = Logistic(x);
  return {-(1 - e) * s.log_p - e * s.log_q, -(1 - e) * s.q + e * s.p};
}

}  // namespace align::losses
