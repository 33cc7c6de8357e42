#include "align/eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace align {
namespace {

using Replies = std::vector<std::vector<int32_t>>;
using Values = std::vector<double>;

TEST(DistinctN, CountsNGramsOverAllReplies) {
  // Bigrams: 12 21 12 | 12 23, three of five distinct.
  const Replies replies = {{1, 2, 1, 2}, {1, 2, 3}};
  EXPECT_DOUBLE_EQ(DistinctN(replies, 2), 3.0 / 5);
  EXPECT_DOUBLE_EQ(DistinctN(replies, 1), 3.0 / 7);
  EXPECT_DOUBLE_EQ(DistinctN(replies, 4), 1);
}

TEST(DistinctN, DoesNotJoinReplies) {
  EXPECT_DOUBLE_EQ(DistinctN(Replies{{1}, {2}, {1, 2}, {2, 1}}, 2), 1);
}

TEST(DistinctN, IsZeroWithoutNGrams) {
  EXPECT_EQ(DistinctN(Replies{}, 2), 0);
  EXPECT_EQ(DistinctN(Replies{{}, {7}}, 2), 0);
}

TEST(DistinctN, IsLowForARepeatedToken) {
  EXPECT_DOUBLE_EQ(DistinctN(Replies{std::vector<int32_t>(101, 5)}, 2), 0.01);
}

TEST(MeanAndError, EqualsTheClosedForm) {
  // 1..5: variance 10 / 4, error sqrt(2.5 / 5).
  const MeanError result = MeanAndError(Values{1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(result.mean, 3);
  EXPECT_DOUBLE_EQ(result.stderr_of_mean, std::sqrt(0.5));
}

TEST(MeanAndError, KeepsTheErrorUnderALargeOffset) {
  const MeanError result = MeanAndError(Values{1e9 + 1, 1e9 + 2, 1e9 + 3});
  EXPECT_DOUBLE_EQ(result.stderr_of_mean, std::sqrt(1.0 / 3));
}

TEST(MeanAndError, DoesNotKnowTheErrorOfOneValue) {
  const MeanError result = MeanAndError(Values{4});
  EXPECT_EQ(result.mean, 4);
  EXPECT_TRUE(std::isnan(result.stderr_of_mean));
}

TEST(WinRate, CountsATieAsHalf) {
  EXPECT_DOUBLE_EQ(WinRate(Values{1, 0, 2, 5}, Values{0, 1, 2, 4}), 0.625);
}

TEST(WinRate, IsOneHalfAgainstItself) {
  const Values scores = {0.1, -3, 7, 0.25, 1e-9};
  EXPECT_EQ(WinRate(scores, scores), 0.5);
}

TEST(WinRate, ComplementsWhenTheSidesSwap) {
  const Values a = {1, 4, 2, 2, 9};
  const Values b = {0, 5, 2, 1, 1};
  EXPECT_DOUBLE_EQ(WinRate(a, b) + WinRate(b, a), 1);
}

// `wins` prompts won, `prompts` - `wins` lost.
Values Scores(int prompts, int wins) {
  Values scores(prompts, -1);
  for (int i = 0; i < wins; ++i) scores[i] = 1;
  return scores;
}

TEST(BootstrapWinRate, HasTheWidthOfTheBinomial) {
  const Values scores = Scores(400, 240);
  const WinInterval result =
      BootstrapWinRate(scores, Values(400, 0), 4000, Rng(1));
  EXPECT_DOUBLE_EQ(result.rate, 0.6);
  // 1.96 sqrt(0.6 0.4 / 400) = 0.048; percentiles of 4000 resamples are known
  // to about 0.001 and rates come in steps of 0.0025.
  EXPECT_NEAR(result.low, 0.552, 0.004);
  EXPECT_NEAR(result.high, 0.648, 0.004);
}

TEST(BootstrapWinRate, IsAPointWhenEveryOutcomeIsTheSame) {
  const WinInterval won =
      BootstrapWinRate(Values(9, 1), Values(9, 0), 100, Rng(2));
  EXPECT_EQ(won.low, 1);
  EXPECT_EQ(won.high, 1);
  const WinInterval tied =
      BootstrapWinRate(Values(9, 1), Values(9, 1), 100, Rng(2));
  EXPECT_EQ(tied.low, 0.5);
  EXPECT_EQ(tied.rate, 0.5);
  EXPECT_EQ(tied.high, 0.5);
}

TEST(BootstrapWinRate, RepeatsForTheSameStream) {
  const Values scores = Scores(50, 31);
  const WinInterval a = BootstrapWinRate(scores, Values(50, 0), 200, Rng(3));
  const WinInterval b = BootstrapWinRate(scores, Values(50, 0), 200, Rng(3));
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
}

TEST(BootstrapWinRate, CoversTheTrueRateAboutNineteenTimesInTwenty) {
  const int trials = 300;
  const Rng root(4);
  int covered = 0;
  for (int trial = 0; trial < trials; ++trial) {
    Rng draw = root.Fork("data").Fork(trial);
    Values scores(120);
    for (double& score : scores) score = draw.Uniform() < 0.7 ? 1 : -1;
    const WinInterval interval = BootstrapWinRate(
        scores, Values(120, 0), 300, root.Fork("bootstrap").Fork(trial));
    covered += interval.low <= 0.7 && 0.7 <= interval.high;
  }
  // Binomial error 0.013 around 0.95, minus what percentiles lose at n = 120.
  EXPECT_GE(covered, trials * 0.90);
  EXPECT_LE(covered, trials * 0.99);
}

TEST(BestOfNKlBound, EqualsTheClosedForm) {
  EXPECT_EQ(BestOfNKlBound(1), 0);
  EXPECT_NEAR(BestOfNKlBound(4), 0.6362943611198906, 1e-15);
  EXPECT_NEAR(BestOfNKlBound(16), 1.8350887222397811, 1e-15);
}

TEST(MeanLogRatio, IsZeroForTheSameModelAndSignedOtherwise) {
  const Values policy = {-10, -20.5, -3};
  const Values reference = {-12, -20, -6};
  EXPECT_EQ(MeanLogRatio(policy, policy), 0);
  EXPECT_DOUBLE_EQ(MeanLogRatio(policy, reference), 1.5);
  EXPECT_DOUBLE_EQ(MeanLogRatio(reference, policy), -1.5);
}

TEST(StatisticsDeathTest, SidesOfDifferentLengthsAreMisuse) {
  EXPECT_DEATH(WinRate(Values{1, 2}, Values{1}), "win rate");
  EXPECT_DEATH(MeanLogRatio(Values{1}, Values{}), "log-ratio");
  EXPECT_DEATH(MeanAndError(Values{}), "no values");
}

}  // namespace
}  // namespace align
