#pragma once

#include "losses/numerics.h"
#include "losses/options.h"

namespace align::losses {

struct BradleyTerryOptions {
  // Coefficient of (r_chosen + r_rejected)^2, which keeps rewards centred;
  // 0.01 in Eisenstein et al. 2023 (arXiv 2312.09244), 0 is off.
  double center_rewards_coefficient = 0.0;

  void Describe(OptionList& list) {
    list.Number("center_rewards_coefficient", &center_rewards_coefficient,
                {.low = 0},
                "pulls the sum of a pair's rewards to 0, so that 0 divides "
                "good from bad; 0 is off, 0.01 usual");
  }
};

struct BradleyTerryResult {
  Eigen::ArrayXd loss;        // [B]
  Eigen::ArrayXd d_chosen;    // [B] d sum(loss) / d chosen
  Eigen::ArrayXd d_rejected;  // [B]
};

// Reward model loss on rewards of chosen and rejected, [B] each; `margin` is
// [B] or empty for none:
//   loss = -log sigmoid(r_w - r_l - m) + c (r_w + r_l)^2
// Ouyang et al. 2022 (arXiv 2203.02155), eq. 1; margin: Touvron et al. 2023
// (arXiv 2307.09288), eq. 2; centring: arXiv 2312.09244.
inline BradleyTerryResult BradleyTerryLoss(
    const Eigen::ArrayXd& chosen, const Eigen::ArrayXd& rejected,
    const Eigen::ArrayXd& margin = {},
    const BradleyTerryOptions& options = {}) {
  const double c = options.center_rewards_coefficient;
  Eigen::ArrayXd x = chosen - rejected;
  if (margin.size() > 0) x -= margin;
  const Eigen::ArrayXd total = chosen + rejected;
  const Eigen::ArrayXd slope = -Sigmoid(Eigen::ArrayXd(-x));
  return {-LogSigmoid(x) + c * total.square(), slope + 2.0 * c * total,
          -slope + 2.0 * c * total};
}

// The same loss written log(1 + exp(r_l - r_w)): OpenRLHF's LogExp, which
// overflows there from margins of -709 and does not here. No margins, no
// centring.
inline BradleyTerryResult LogExpLoss(const Eigen::ArrayXd& chosen,
                                     const Eigen::ArrayXd& rejected) {
  const Eigen::ArrayXd x = rejected - chosen;
  const Eigen::ArrayXd slope = Sigmoid(x);
  return {x.unaryExpr([](double v) { return Softplus(v); }), -slope, slope};
}

}  // namespace align::losses
