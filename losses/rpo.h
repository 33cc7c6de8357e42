#pragma once

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct RpoOptions {
  double beta = 0.1;
  double reward_scale = 1.0;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the implicit reward");
    list.Number("reward_scale", &reward_scale, {.low = 0},
                "scale of the given reward margin; NeMo-Aligner's "
                "gt_reward_scale");
    score.Describe(list);
  }
  PairNeeds Needs() const {
    return {.reference = !score.reference_free, .reward_margin = true};
  }
};

// Reward-aware preference optimisation: the implicit margin x = beta d is to
// equal, not only to exceed, the given one g = scale * in.reward_margin. With
// p = sigmoid(g), q = sigmoid(x), the three distances of Adler et al. 2024
// (Nemotron-4, arXiv 2406.11704), section 3.3.2 and Sun et al. 2025
// (arXiv 2502.00203), eq. 5; NeMo-Aligner's rpo_bwd_kl, rpo_fwd_kl, rpo_sq:
//   backward KL  p log(p / q) + (1 - p) log((1 - p) / (1 - q))
template <class Distance>
PairLossResult RewardAwareLoss(const PairInputs& in, const RpoOptions& options,
                               Distance distance) {
  Eigen::Index i = 0;
  return MarginLoss(in, ScorePairs(in, options.score), options.beta,
                    options.beta, [&](double x) {
                      return distance(
                          x, options.reward_scale * in.reward_margin[i++]);
                    });
}

inline PairLossResult RpoBackwardKlLoss(const PairInputs& in,
                                        const RpoOptions& options) {
  return RewardAwareLoss(in, options, [](double x, double g) -> ValueSlope {
    const LogisticValues q = Logistic(x), p = Logistic(g);
    return {p.p * (p.log_p - q.log_p) + p.q * (p.log_q - q.log_q), q.p - p.p};
  });
}

//   forward KL   q log(q / p) + (1 - q) log((1 - q) / (1 - p))
inline PairLossResult RpoForwardKlLoss(const PairInputs& in,
                                       const RpoOptions& options) {
  return RewardAwareLoss(in, options, [](double x, double g) -> ValueSlope {
    const LogisticValues q = Logistic(x), p = Logistic(g);
    // log(q / (1 - q)) - log(p / (1 - p)) = x - g.
    return {q.p * (q.log_p - p.log_p) + q.q * (q.log_q - p.log_q),
            q.p * q.q * (x - g)};
  });
}

//   square       (x - g)^2
inline PairLossResult RpoSquareLoss(const PairInputs& in,
                                    const RpoOptions& options) {
  return RewardAwareLoss(in, options, [](double x, double g) -> ValueSlope {
    return {(x - g) * (x - g), 2 * (x - g)};
  });
}

}  // namespace align::losses
