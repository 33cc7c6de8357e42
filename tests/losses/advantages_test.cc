#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "losses/group_advantages.h"

namespace align::losses {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Samples with the scores of two functions each.
AdvantageInputs TwoFunctions(const std::vector<std::pair<double, double>>& rows,
                             Groups groups) {
  AdvantageInputs in;
  in.offsets = {0};
  in.rewards_per_function.resize(static_cast<Eigen::Index>(rows.size()), 2);
  for (const auto& [first, second] : rows) {
    const Eigen::Index i = in.offsets.back();
    in.rewards_per_function(i, 0) = first;
    in.rewards_per_function(i, 1) = second;
    in.offsets.push_back(i + 1);
  }
  in.groups = std::move(groups);
  return in;
}

TEST(GroupAdvantages, WhatNoFunctionScoredIsNoPartOfTheBatch) {
  const GroupAdvantageOptions options = {.mix = RewardMix::kNormalizeThenSum};
  const AdvantageInputs without =
      TwoFunctions({{1, 0}, {3, 2}, {0, 5}, {4, 1}, {2, 7}}, {0, 0, 0, 1, 1});
  const AdvantageInputs with =
      TwoFunctions({{1, 0}, {3, 2}, {0, 5}, {kNone, kNone}, {4, 1}, {2, 7}},
                   {0, 0, 0, 0, 1, 1});
  const Eigen::ArrayXd expected = GroupAdvantages(without, options).advantages;
  const Eigen::ArrayXd got = GroupAdvantages(with, options).advantages;
  ASSERT_EQ(got.size(), 6);
  EXPECT_EQ(got[3], 0);
  for (Eigen::Index i = 0; i < 5; ++i) {
    EXPECT_NEAR(got[i < 3 ? i : i + 1], expected[i], 1e-14);
  }
  EXPECT_GT(expected.abs().maxCoeff(), 0.5);
}

TEST(GroupAdvantages, NormalisedSumsHaveMeanZeroAndDeviationOne) {
  const Eigen::ArrayXd got =
      GroupAdvantages(
          TwoFunctions({{1, 0}, {3, 2}, {0, 5}, {4, 1}}, {0, 0, 1, 1}),
          {.epsilon = 0, .mix = RewardMix::kNormalizeThenSum})
          .advantages;
  EXPECT_NEAR(got.sum(), 0, 1e-14);
  EXPECT_NEAR(got.square().sum() / 3, 1, 1e-14);
}

}  // namespace
}  // namespace align::losses
