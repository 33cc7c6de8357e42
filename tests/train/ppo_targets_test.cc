#include "align/train/ppo_targets.h"

#include <cmath>

#include "gtest/gtest.h"

namespace align::train {
namespace {

// Completions of 2 and 3 tokens.
PpoScores Scores() {
  return {.offsets = {0, 2, 5},
          .log_probs = {-1.0, -2.0, -0.5, -1.5, -3.0},
          .reference_log_probs = {-1.5, -1.0, -0.5, -2.5, -2.0},
          .values = {0.2, -0.1, 0.4, 0.3, -0.6},
          .scores = {2.0, -1.0}};
}

TEST(PpoTargets, TheScoreIsAddedAtEachLastTokenToThePenalties) {
  const PpoTargets targets = MakePpoTargets(Scores(), 0.1);
  const double expected[] = {-0.05, 0.1 + 2.0, 0.0, -0.1, 0.1 - 1.0};
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(targets.rewards[i], expected[i], 1e-15) << i;
  }
}

TEST(PpoTargets, GaeStopsAtTheEndOfEachCompletion) {
  const PpoTargets targets = MakePpoTargets(
      Scores(), 0,
      {.gae = {.gamma = 0.9, .lambda = 0.5}, .whiten_advantages = false});
  // The first completion by hand; the second must not leak into it.
  const double last = 2.0 - -0.1;
  EXPECT_NEAR(targets.advantages[1], last, 1e-15);
  EXPECT_NEAR(targets.advantages[0], 0.9 * -0.1 - 0.2 + 0.45 * last, 1e-15);
}

TEST(PpoTargets, ReturnsAreAdvantagesPlusValuesBeforeWhitening) {
  const PpoScores scores = Scores();
  const PpoTargets plain =
      MakePpoTargets(scores, 0.1, {.whiten_advantages = false});
  const PpoTargets whitened = MakePpoTargets(scores, 0.1);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_DOUBLE_EQ(plain.returns[i], plain.advantages[i] + scores.values[i]);
  }
  EXPECT_EQ(whitened.returns, plain.returns);
  EXPECT_NE(whitened.advantages, plain.advantages);
}

TEST(PpoTargets, WhitenedAdvantagesHaveMeanZeroAndDeviationOne) {
  const PpoTargets targets = MakePpoTargets(Scores(), 0.1);
  double sum = 0, squares = 0;
  for (double a : targets.advantages) {
    sum += a;
    squares += a * a;
  }
  EXPECT_NEAR(sum, 0, 1e-12);
  EXPECT_NEAR(squares / 4, 1, 1e-7);  // Bessel; 1e-8 is added to the variance
}

TEST(PpoTargets, WhitenedRewardsKeepTheirMean) {
  const PpoTargets plain = MakePpoTargets(Scores(), 0.1);
  const PpoTargets whitened =
      MakePpoTargets(Scores(), 0.1, {.whiten_rewards = true});
  double plain_sum = 0, whitened_sum = 0;
  for (size_t i = 0; i < 5; ++i) {
    plain_sum += plain.rewards[i];
    whitened_sum += whitened.rewards[i];
  }
  EXPECT_NEAR(whitened_sum, plain_sum, 1e-12);
  EXPECT_NE(whitened.rewards, plain.rewards);
}

TEST(PpoTargets, K3IsNeverNegativeAndK1IsTheLogRatio) {
  const PpoTargets k1 = MakePpoTargets(Scores(), 0.1);
  const PpoTargets k3 =
      MakePpoTargets(Scores(), 0.1, {.kl_estimator = losses::KlEstimator::kK3});
  EXPECT_EQ(k1.kl, (std::vector<double>{0.5, -1, 0, 1, -1}));
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(k3.kl[i], std::exp(-k1.kl[i]) - 1 + k1.kl[i], 1e-15);
    EXPECT_GE(k3.kl[i], 0);
  }
}

}  // namespace
}  // namespace align::train
