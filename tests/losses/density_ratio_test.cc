#include "losses/density_ratio.h"

#include <gtest/gtest.h>

#include <cmath>

namespace align::losses {
namespace {

// Two overlapping clusters, 40 desirable and 25 undesirable points of width 3.
struct Clusters {
  Eigen::MatrixXd x{65, 3};
  Labels desirable{65};
  Clusters() {
    for (int i = 0; i < 65; ++i) {
      desirable[i] = i < 40;
      for (int d = 0; d < 3; ++d) {
        x(i, d) = std::sin(7.0 * i + 3.0 * d) + (i < 40 ? 0.4 * d : -0.2);
      }
    }
  }
};

// The objective of FitLogistic, written out anew.
double Objective(const Clusters& data, const Eigen::VectorXd& w, double b,
                 double c) {
  double sum = 0.5 * w.squaredNorm();
  for (int i = 0; i < 65; ++i) {
    const double logit = data.x.row(i).dot(w) + b;
    const double weight = data.desirable[i] ? 65.0 / 80 : 65.0 / 50;
    sum +=
        c * weight * std::log1p(std::exp(data.desirable[i] ? -logit : logit));
  }
  return sum;
}

TEST(FitLogistic, NoDirectionLowersTheObjective) {
  const Clusters data;
  for (const double c : {1.0, 0.01, 100.0}) {
    const LogisticClassifier fit =
        FitLogistic(data.x, data.desirable, {.inverse_regularization = c});
    EXPECT_TRUE(fit.converged);
    const double at = Objective(data, fit.weights, fit.bias, c);
    for (int d = 0; d < 4; ++d) {
      for (const double h : {1e-3, -1e-3}) {
        Eigen::VectorXd w = fit.weights;
        if (d < 3) w[d] += h;
        EXPECT_GT(Objective(data, w, fit.bias + (d == 3 ? h : 0), c), at);
      }
    }
  }
}

TEST(FitLogistic, BalancedClassesHaveRatioOneWhereNothingTellsThemApart) {
  const Eigen::MatrixXd x = Eigen::MatrixXd::Constant(30, 2, 0.7);
  Labels desirable = Labels::Constant(30, false);
  desirable.head(3).setConstant(true);
  const LogisticClassifier balanced = FitLogistic(x, desirable);
  EXPECT_NEAR(DensityRatio(balanced.Logits(x))[5], 1.0, 1e-7);
  const LogisticClassifier counted =
      FitLogistic(x, desirable, {.balanced = false});
  EXPECT_NEAR(DensityRatio(counted.Logits(x))[5], 3.0 / 27, 1e-6);
}

TEST(FitLogistic, SeparableAndHugeEmbeddingsStayFinite) {
  Eigen::MatrixXd x(4, 1);
  x << -1e4, -9e3, 9e3, 1e4;
  const LogisticClassifier fit =
      FitLogistic(x, Labels{{false, false, true, true}});
  EXPECT_TRUE(fit.converged);
  const Eigen::ArrayXd ratio = DensityRatio(fit.Logits(x));
  EXPECT_TRUE(ratio.isFinite().all());
  EXPECT_LT(ratio[0], 0.5);
  EXPECT_GT(ratio[3], 2.0);
}

TEST(FitLogistic, OneClassAloneGivesRatioOne) {
  const Eigen::MatrixXd x = Eigen::MatrixXd::Ones(3, 2);
  const LogisticClassifier fit = FitLogistic(x, Labels::Constant(3, true));
  EXPECT_FALSE(fit.converged);
  EXPECT_NEAR(DensityRatio(fit.Logits(x))[1], 1.0, 1e-7);
}

TEST(DensityRatio, IsTheOddsOfTheProbability) {
  const Eigen::ArrayXd ratio =
      DensityRatio(Eigen::ArrayXd{{0.0, std::log(3.0), -800.0, 800.0}});
  EXPECT_NEAR(ratio[0], 1.0, 1e-7);
  EXPECT_NEAR(ratio[1], 3.0, 1e-6);
  EXPECT_EQ(ratio[2], 0.0);
  EXPECT_DOUBLE_EQ(ratio[3], 1e8);
}

}  // namespace
}  // namespace align::losses
