#include <gtest/gtest.h>

#include <cmath>

#include "losses/kl.h"
#include "losses/log_softmax.h"
#include "losses/ppo.h"
#include "losses/reward.h"
#include "losses/token_nll.h"

namespace align::losses {
namespace {

TEST(BradleyTerry, MarginAndCentringMatchClosedForm) {
  const auto out = BradleyTerryLoss(
      Eigen::ArrayXd{{2.0}}, Eigen::ArrayXd{{1.0}}, Eigen::ArrayXd{{1.0}},
      {.center_rewards_coefficient = 0.5});
  EXPECT_NEAR(out.loss[0], std::log(2.0) + 4.5, 1e-14);
  EXPECT_NEAR(out.d_chosen[0], -0.5 + 3.0, 1e-14);
  EXPECT_NEAR(out.d_rejected[0], 0.5 + 3.0, 1e-14);
}

TEST(Ppo, RatioOneGivesMinusAdvantageAndClippedTokensHaveNoGradient) {
  const Eigen::ArrayXd old{{-1.0, -1.0}}, now{{-1.0, -0.5}}, a{{2.0, 1.0}};
  const PpoPolicyResult out = PpoPolicyLoss(now, old, a);
  EXPECT_DOUBLE_EQ(out.loss[0], -2.0);
  EXPECT_DOUBLE_EQ(out.d_log_prob[0], -2.0);
  EXPECT_DOUBLE_EQ(out.loss[1], -1.2);
  EXPECT_DOUBLE_EQ(out.d_log_prob[1], 0.0);
}

TEST(Ppo, GaeWithLambdaOneIsReturnMinusValue) {
  const Eigen::ArrayXd r{{1.0, 2.0, 3.0}}, v{{0.5, -1.0, 2.0}};
  const GaeResult out = Gae(r, v, {.gamma = 1.0, .lambda = 1.0});
  EXPECT_NEAR(out.returns[0], 6.0, 1e-14);
  EXPECT_NEAR(out.advantages[1], 6.0, 1e-14);
}

TEST(Whiten, IgnoresMaskedFillersAndHasUnitVariance) {
  const Eigen::ArrayXd x{{1.0, 4.0, 7.0, 1e300}};
  // Not written out: GCC 12.2 at -O3 with AVX-512 folds the sum of the constant
  // {1, 1, 1, 0} to 4.
  Eigen::ArrayXd mask = Eigen::ArrayXd::Ones(4);
  mask[3] = 0;
  const Eigen::ArrayXd w = MaskedWhiten(x, mask);
  EXPECT_NEAR(MaskedMean(w, mask), 0.0, 1e-12);
  EXPECT_NEAR(MaskedVariance(w, mask), 1.0, 1e-8);
}

TEST(LogSoftmax, GradientsMatchFiniteDifferences) {
  const Eigen::ArrayXd z{{0.3, -1.2, 2.0, 0.1}};
  const double h = 1e-6;
  const Eigen::ArrayXd d = ScoreTokenGradient(z, 2, 0.7, -0.4);
  for (Eigen::Index v = 0; v < z.size(); ++v) {
    Eigen::ArrayXd up = z, down = z;
    up[v] += h;
    down[v] -= h;
    const TokenScore a = ScoreToken(up, 2), b = ScoreToken(down, 2);
    EXPECT_NEAR(
        d[v],
        (0.7 * (a.log_prob - b.log_prob) - 0.4 * (a.entropy - b.entropy)) /
            (2 * h),
        1e-8);
  }
}

TEST(Kl, AdaptiveControllerClipsItsErrorAndK3IsNeverNegative) {
  AdaptiveKlController controller({.initial = 0.2, .target = 6});
  controller.Update(100.0, 256);
  EXPECT_NEAR(controller.coefficient(), 0.2 * (1 + 0.2 * 256 / 10000), 1e-15);
  const Eigen::ArrayXd p{{-1.0, -2.0}}, r{{-2.0, -2.0}};
  const Eigen::ArrayXd k3 = EstimateKl(KlEstimator::kK3, p, r);
  EXPECT_NEAR(k3[0], std::exp(-1.0), 1e-15);
  EXPECT_EQ(k3[1], 0.0);
}

}  // namespace
}  // namespace align::losses
