#include "losses/load_balance.h"

#include <gtest/gtest.h>

#include <cmath>

namespace align::losses {
namespace {

constexpr int kTokens = 7, kExperts = 5, kChosen = 2;

// Logits without a pattern; every token chose two experts.
LoadBalanceInputs Inputs() {
  LoadBalanceInputs in;
  in.logits.resize(kTokens, kExperts);
  in.experts.resize(kTokens, kChosen);
  for (int t = 0; t < kTokens; ++t) {
    for (int e = 0; e < kExperts; ++e) {
      in.logits(t, e) = std::sin(1.7 * t + 2.3 * e * e + 0.4);
    }
    in.experts.row(t) << (t * t) % 4, 4;
  }
  in.groups = {{{0, 3}, {3, 5}}, {{0, 3}, {5, 7}}};
  return in;
}

// The formula written down once more, for one group.
double OfTokens(const LoadBalanceInputs& in, const std::vector<int>& tokens,
                RouterScore score) {
  double loss = 0;
  for (int e = 0; e < kExperts; ++e) {
    double chosen = 0, probability = 0;
    for (const int t : tokens) {
      double all = 0, own = 0;
      for (int j = 0; j < kExperts; ++j) {
        const double z = in.logits(t, j);
        const double s = score == RouterScore::kSoftmax
                             ? std::exp(z)
                             : 1 / (1 + std::exp(-z));
        all += s;
        if (j == e) own = s;
      }
      probability += own / all;
      for (int i = 0; i < kChosen; ++i) chosen += in.experts(t, i) == e;
    }
    const auto n = static_cast<double>(tokens.size());
    loss += kExperts * (chosen / n) * (probability / n);
  }
  return loss;
}

TEST(LoadBalanceTest, GroupsAreAveragedAndSharedRowsCountInEach) {
  const LoadBalanceInputs in = Inputs();
  for (const RouterScore score :
       {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    const double expected = (OfTokens(in, {0, 1, 2, 3, 4}, score) +
                             OfTokens(in, {0, 1, 2, 5, 6}, score)) /
                            2;
    EXPECT_NEAR(LoadBalanceLoss(in, {.score = score}).loss, expected, 1e-12);
    EXPECT_NEAR(LoadBalanceLoss(in, {.score = score, .per_choice = true}).loss,
                expected / kChosen, 1e-12);
  }
}

TEST(LoadBalanceTest, GradientsAgreeWithFiniteDifferences) {
  for (const RouterScore score :
       {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    LoadBalanceInputs in = Inputs();
    const LoadBalanceOptions options = {.score = score, .per_choice = true};
    const Eigen::ArrayXXd gradient = LoadBalanceLoss(in, options).d_logits;
    constexpr double kStep = 1e-6;
    for (double& z : in.logits.reshaped()) {
      const double before = z;
      z = before + kStep;
      const double up = LoadBalanceLoss(in, options).loss;
      z = before - kStep;
      const double down = LoadBalanceLoss(in, options).loss;
      z = before;
      const auto at = &z - in.logits.data();
      EXPECT_NEAR(gradient.data()[at], (up - down) / (2 * kStep), 1e-8);
    }
  }
}

TEST(LoadBalanceTest, EvenLoadIsOneAndACrowdedExpertCostsMore) {
  LoadBalanceInputs in;
  in.logits = Eigen::ArrayXXd::Zero(4, 4);
  in.experts.resize(4, 1);
  in.experts.col(0) << 0, 1, 2, 3;
  in.groups = {{{0, 4}}};
  EXPECT_NEAR(LoadBalanceLoss(in, {}).loss, 1, 1e-15);
  in.experts.setConstant(2);
  in.logits.col(2).setConstant(30);
  const LoadBalanceResult crowded = LoadBalanceLoss(in, {});
  EXPECT_NEAR(crowded.loss, 4, 1e-9);
  in.logits.col(2).setConstant(1);
  EXPECT_GT(LoadBalanceLoss(in, {}).d_logits(0, 2), 0);
}

TEST(LoadBalanceTest, NoTokensCostNothing) {
  LoadBalanceInputs in;
  in.logits.resize(0, 3);
  in.experts.resize(0, 1);
  in.groups = {{}};
  EXPECT_EQ(LoadBalanceLoss(in, {}).loss, 0);
}

}  // namespace
}  // namespace align::losses
