#pragma once

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/unpaired.h"

namespace align::losses {

struct ApoZeroUnpairedOptions {
  double beta = 0.1;
  double desirable_weight = 1.0;
  double undesirable_weight = 1.0;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Number("desirable_weight", &desirable_weight, {.low = 0},
                "factor of desirable replies (TRL); the paper has none");
    list.Number("undesirable_weight", &undesirable_weight, {.low = 0},
                "factor of undesirable replies (TRL); the paper has none");
  }
};

// APO-zero on single replies: desirable ones become likelier than under the
// reference, undesirable ones less likely. With the log-ratio r = log pi/ref:
//   desirable:   lambda_D (1 - sigmoid(beta r))
//   undesirable: lambda_U sigmoid(beta r)
// D'Oosterlinck et al. 2024 (arXiv 2408.06266), APO-zero, whose two terms do
// not need each other; it is KTO with z = 0. Far from 0 it saturates: the
// gradients vanish.
inline UnpairedResult ApoZeroUnpairedLoss(
    const UnpairedInputs& in, const ApoZeroUnpairedOptions& options) {
  const Eigen::ArrayXd rewards = options.beta * LogRatios(in);
  const Eigen::ArrayXd weight =
      ByLabel(in, options.desirable_weight, options.undesirable_weight);
  const Eigen::ArrayXd sign = ByLabel(in, 1.0, -1.0);
  const Eigen::ArrayXd x = sign * rewards;
  // 1 - sigmoid(x) as sigmoid(-x), which keeps its digits for large x.
  const Eigen::ArrayXd miss = Sigmoid(Eigen::ArrayXd(-x));
  return {weight * miss, -options.beta * weight * sign * miss * Sigmoid(x),
          rewards, 0.0};
}

}  // namespace align::losses
