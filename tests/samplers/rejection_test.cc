#include "samplers/rejection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace align::samplers {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Keys(size_t count) {
  std::vector<std::string> keys;
  for (size_t i = 0; i < count; ++i) keys.push_back("y" + std::to_string(i));
  return keys;
}

// Gives `values` one by one, and fails the test when asked for more.
Uniforms Replay(std::vector<double> values) {
  return [values, next = size_t{0}]() mutable {
    EXPECT_LT(next, values.size());
    return next < values.size() ? values[next++] : 0.0;
  };
}

RejectionResult Sample(const std::vector<double>& rewards,
                       const RejectionOptions& options, Uniforms uniforms) {
  const auto result =
      RejectionSample(Keys(rewards.size()), rewards, options, uniforms);
  EXPECT_TRUE(result.ok()) << result.status();
  return *result;
}

TEST(RejectionSample, TakesMaximumOverTheRemainingOfEachPass) {
  // Pass 1, r_max = 2: exp(-2) = .135, exp(-1) = .368, 1. Pass 2, r_max = 1:
  // exp(-1), 1.
  const RejectionResult result =
      Sample({0, 1, 2}, {.accept = 2, .beta = 1},
             Replay({0.14, 0.37, 0.999, 0.37, 0.999}));
  EXPECT_THAT(result.accepted, ElementsAre(2, 1));
  EXPECT_EQ(result.passes, 2);
  EXPECT_EQ(result.draws, 5);
  EXPECT_NEAR(result.expected_acceptance,
              (std::exp(-2.0) + std::exp(-1.0) + 1) / 3, 1e-15);
}

TEST(RejectionSample, StopsInTheMiddleOfAPass) {
  const RejectionResult result =
      Sample({5, 5, 5, 5}, {.accept = 2, .beta = 1}, Replay({0.9, 0.9}));
  EXPECT_THAT(result.accepted, ElementsAre(0, 1));
  EXPECT_EQ(result.draws, 2);
}

TEST(RejectionSample, FrequenciesFollowExpOfRewardOverBeta) {
  // One is accepted of a large pool in random order: the first candidate whose
  // draw succeeds is of a kind with probability proportional to exp(r / beta).
  const std::vector<double> kinds = {0.0, 0.5, 1.0};
  constexpr int kCopies = 100, kTrials = 6000;
  std::vector<double> rewards;
  for (int i = 0; i < kCopies; ++i) {
    rewards.insert(rewards.end(), kinds.begin(), kinds.end());
  }
  const std::vector<std::string> keys = Keys(rewards.size());
  Rng rng(7);
  std::vector<double> counts(kinds.size());
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> shuffled;
    for (int64_t i : rng.Permutation(static_cast<int64_t>(rewards.size()))) {
      shuffled.push_back(rewards[i]);
    }
    const auto result =
        RejectionSample(keys, shuffled, {.accept = 1, .beta = 0.5}, rng);
    ASSERT_TRUE(result.ok());
    for (size_t k = 0; k < kinds.size(); ++k) {
      counts[k] += shuffled[result->accepted.front()] == kinds[k] ? 1 : 0;
    }
  }
  const double total = 1 + std::exp(1.0) + std::exp(2.0);
  for (size_t k = 0; k < kinds.size(); ++k) {
    const double expected = std::exp(kinds[k] / 0.5) / total;
    const double error = std::sqrt(expected * (1 - expected) / kTrials);
    EXPECT_NEAR(counts[k] / kTrials, expected, 4 * error) << kinds[k];
  }
}

TEST(RejectionSample, BetaZeroTakesTheBestWithoutUniforms) {
  const RejectionResult result =
      Sample({1, 3, 2, 3}, {.accept = 3, .beta = 0}, Replay({}));
  EXPECT_THAT(result.accepted, ElementsAre(1, 3, 2));
}

TEST(RejectionSample, LargeBetaTakesThemAsTheyCome) {
  Rng rng(1);
  const auto result = RejectionSample(Keys(4), std::vector<double>{4, 1, 3, 2},
                                      {.accept = 3, .beta = 1e300}, rng);
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->accepted, ElementsAre(0, 1, 2));
}

TEST(RejectionSample, CopiesAreOneCandidate) {
  const std::vector<std::vector<int32_t>> keys = {{1, 2}, {3}, {1, 2}, {}};
  const auto result =
      RejectionSample(keys, std::vector<double>{1, 0, 1, 0},
                      {.accept = 4, .beta = 1}, Replay({0.0, 0.0, 0.0}));
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->accepted, ElementsAre(2, 1, 3));
  EXPECT_EQ(result->unique, 3);
  EXPECT_EQ(result->short_of, 1);
}

TEST(RejectionSample, FewerCandidatesThanWantedAreAllReturned) {
  Rng rng(1);
  auto result = RejectionSample(Keys(3), std::vector<double>{0, -50, 7},
                                {.accept = 8, .beta = 0.5}, rng);
  ASSERT_TRUE(result.ok());
  std::sort(result->accepted.begin(), result->accepted.end());
  EXPECT_THAT(result->accepted, ElementsAre(0, 1, 2));
  EXPECT_EQ(result->short_of, 5);
  const RejectionResult none = Sample({}, {.accept = 2}, Replay({}));
  EXPECT_THAT(none.accepted, IsEmpty());
  EXPECT_EQ(none.short_of, 2);
}

TEST(RejectionSample, TinyBetaStillEnds) {
  const RejectionResult result =
      Sample({-1e308, 1e308, 0}, {.accept = 3, .beta = 1e-300},
             Replay({0.5, 0.5, 0.5, 0.5, 0.5, 0.5}));
  EXPECT_THAT(result.accepted, ElementsAre(1, 2, 0));
}

TEST(RejectionSample, RefusesWhatItCannotRank) {
  Rng rng(1);
  const std::vector<double> rewards = {1, std::nan("")};
  EXPECT_EQ(RejectionSample(Keys(2), rewards, {}, rng).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(RejectionSample(Keys(2), rewards, {}, rng).status()),
              HasSubstr("candidate 1"));
  const std::vector<double> fine = {1, 2};
  for (const RejectionOptions& options :
       {RejectionOptions{.beta = -1}, RejectionOptions{.beta = std::nan("")},
        RejectionOptions{.accept = 0}}) {
    EXPECT_EQ(RejectionSample(Keys(2), fine, options, rng).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(RejectionSample(Keys(3), fine, {}, rng).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(FirstRoundPairs, AreDisjointAndLabelledByReward) {
  const std::vector<double> rewards = {9, 3, 1, 4, 1.5, 9.5, 2, 6, 5};
  const std::vector<int64_t> accepted = {1, 2, 3, 4, 6, 7, 8};
  std::set<int64_t> partners_of_one;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed);
    const std::vector<RankedPair> pairs =
        FirstRoundPairs(accepted, rewards, rng);
    ASSERT_EQ(pairs.size(), 3u);
    std::set<int64_t> used;
    for (const RankedPair& pair : pairs) {
      EXPECT_GT(rewards[pair.chosen], rewards[pair.rejected]);
      EXPECT_TRUE(used.insert(pair.chosen).second);
      EXPECT_TRUE(used.insert(pair.rejected).second);
      if (pair.chosen == 1) partners_of_one.insert(pair.rejected);
      if (pair.rejected == 1) partners_of_one.insert(pair.chosen);
    }
    for (int64_t i : used)
      EXPECT_TRUE(std::count(accepted.begin(), accepted.end(), i));
  }
  EXPECT_EQ(partners_of_one.size(), 6u);
}

TEST(TournamentPairs, EveryoneButTheBestLosesOnce) {
  const std::vector<double> rewards = {3, 1, 4, 1.5, 9, 2, 6};
  std::vector<int64_t> accepted(rewards.size());
  std::iota(accepted.begin(), accepted.end(), 0);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed);
    const std::vector<RankedPair> pairs =
        TournamentPairs(accepted, rewards, rng);
    std::set<int64_t> losers;
    for (const RankedPair& pair : pairs) {
      EXPECT_GT(rewards[pair.chosen], rewards[pair.rejected]);
      losers.insert(pair.rejected);
    }
    EXPECT_EQ(pairs.size(), 6u);
    EXPECT_EQ(losers.size(), 6u);
    EXPECT_EQ(losers.count(4), 0u);
  }
}

TEST(TournamentPairs, EqualRewardsMakeNoPair) {
  const std::vector<double> rewards = {2, 2, 2, 1};
  const std::vector<int64_t> accepted = {0, 1, 2, 3};
  Rng rng(3);
  const std::vector<RankedPair> pairs = TournamentPairs(accepted, rewards, rng);
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs[0].rejected, 3);
  EXPECT_THAT(FirstRoundPairs(std::vector<int64_t>{0, 1}, rewards, rng),
              IsEmpty());
}

TEST(NeighbourPairs, StandNextToEachOtherByReward) {
  const std::vector<double> rewards = {3, 1, 4, 1.5, 9, 2, 6};
  const std::vector<int64_t> accepted = {0, 1, 2, 3, 5};
  const std::vector<RankedPair> pairs = NeighbourPairs(accepted, rewards);
  ASSERT_EQ(pairs.size(), 2u);  // the worst of five is left over
  EXPECT_EQ(pairs[0].chosen, 2);
  EXPECT_EQ(pairs[0].rejected, 0);
  EXPECT_EQ(pairs[1].chosen, 5);
  EXPECT_EQ(pairs[1].rejected, 3);
  EXPECT_THAT(
      NeighbourPairs(std::vector<int64_t>{0, 1}, std::vector<double>{2, 2}),
      IsEmpty());
}

TEST(BestOfN, TakesTheFirstLargest) {
  EXPECT_EQ(BestOfN(std::vector<double>{1, 4, 4, 2}), 1);
  EXPECT_EQ(BestOfN(std::vector<double>{std::nan(""), -5, std::nan("")}), 1);
  EXPECT_EQ(
      BestOfN(std::vector<double>{-std::numeric_limits<double>::infinity()}),
      0);
}

}  // namespace
}  // namespace align::samplers
