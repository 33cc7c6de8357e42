#include "samplers/logits_processors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "align/base/rng.h"

namespace align::samplers {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Logits whose probabilities are these.
std::vector<double> Logits(std::vector<double> probabilities) {
  for (double& p : probabilities) p = std::log(p) + 3;
  return probabilities;
}

TEST(KeptTokensTest, TopKKeepsTheLargestAndTheirTies) {
  const std::vector<double> z = {1, 3, 2, 3, 2};
  EXPECT_THAT(KeptTokens({.top_k = 2}, z), ElementsAre(1, 3));
  EXPECT_THAT(KeptTokens({.top_k = 1}, z), ElementsAre(1, 3));
  EXPECT_THAT(KeptTokens({.top_k = 3}, z), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(KeptTokens({.top_k = 9}, z), ElementsAre(0, 1, 2, 3, 4));
}

TEST(KeptTokensTest, TopPKeepsTheFewestThatHoldTheMass) {
  const std::vector<double> z = Logits({0.1, 0.4, 0.2, 0.3});
  EXPECT_THAT(KeptTokens({.top_p = 0.39}, z), ElementsAre(1));
  EXPECT_THAT(KeptTokens({.top_p = 0.41}, z), ElementsAre(1, 3));
  EXPECT_THAT(KeptTokens({.top_p = 0.95}, z), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(KeptTokens({.top_p = 0.1, .min_tokens_to_keep = 3}, z),
              ElementsAre(1, 2, 3));
}

TEST(KeptTokensTest, MinPAndEpsilonAreBoundsOnProbabilities) {
  const std::vector<double> z = Logits({0.1, 0.4, 0.2, 0.3});
  EXPECT_THAT(KeptTokens({.min_p = 0.6}, z), ElementsAre(1, 3));
  EXPECT_THAT(KeptTokens({.min_p = 1}, z), ElementsAre(1));
  EXPECT_THAT(KeptTokens({.epsilon_cutoff = 0.15}, z), ElementsAre(1, 2, 3));
  EXPECT_THAT(KeptTokens({.epsilon_cutoff = 0.9}, z), ElementsAre(1));
  EXPECT_THAT(KeptTokens({.epsilon_cutoff = 0.9, .min_tokens_to_keep = 2}, z),
              ElementsAre(1, 3));
  // The bound is on what earlier filters left, summed to one: 0.4 of 0.7.
  EXPECT_THAT(KeptTokens({.top_k = 2, .epsilon_cutoff = 0.42}, z),
              ElementsAre(1, 3));
  EXPECT_THAT(KeptTokens({.top_k = 2, .epsilon_cutoff = 0.5}, z),
              ElementsAre(1));
}

// Entropy 1.09 nats; informations 0.51, 1.20, 2.30, 3.0, 3.0: the second is
// most typical, then the first.
TEST(KeptTokensTest, TypicalTokensStandNearTheEntropy) {
  const std::vector<double> z = Logits({0.6, 0.2, 0.1, 0.05, 0.05});
  EXPECT_THAT(KeptTokens({.typical_p = 0.1}, z), ElementsAre(1));
  EXPECT_THAT(KeptTokens({.typical_p = 0.3}, z), ElementsAre(0, 1));
  EXPECT_THAT(KeptTokens({.typical_p = 0.85}, z), ElementsAre(0, 1, 2));
  // Equally typical ones stay together.
  EXPECT_THAT(KeptTokens({.typical_p = 0.91}, z), ElementsAre(0, 1, 2, 3, 4));
}

TEST(KeptTokensTest, LongTailsAreCutAsSortingAllOfThemWouldCutThem) {
  constexpr int kVocabulary = 5000;
  Rng rng(7);
  for (const double scale : {0.5, 2.0, 6.0}) {
    std::vector<double> z(kVocabulary);
    for (double& x : z) x = scale * rng.Normal();
    std::vector<int32_t> order(kVocabulary);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](int a, int b) { return z[a] > z[b]; });
    double total = 0, sum = 0;
    for (const double x : z) total += std::exp(x);
    std::vector<int32_t> expected;
    for (const int32_t id : order) {
      if (sum >= 0.9 * total) break;
      sum += std::exp(z[id]);
      expected.push_back(id);
    }
    std::ranges::sort(expected);
    EXPECT_EQ(KeptTokens({.top_p = 0.9}, z), expected) << scale;
  }
}

TEST(KeptTokensTest, WhatWasBannedOrIsNoNumberIsNeverKept) {
  const double never = -std::numeric_limits<double>::infinity();
  const double none = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(KeptTokens({.top_k = 5}, std::vector<double>{never, 1, none}),
              ElementsAre(1));
  EXPECT_THAT(KeptTokens({.min_p = 0.1}, std::vector<double>{never, none}),
              ElementsAre());
}

TEST(RepeatTokensLessTest, APenaltyCountsOnceAndLowersEitherSign) {
  std::vector<double> z = {2, -2, 2, -2};
  const std::vector<int32_t> context = {0, 1, 0, 0};
  RepeatTokensLess({.repetition_penalty = 2}, context, z);
  EXPECT_THAT(z, ElementsAre(1, -4, 2, -2));
}

TEST(RepeatTokensLessTest, NoNgramComesTwice) {
  const double never = -std::numeric_limits<double>::infinity();
  const std::vector<int32_t> context = {3, 1, 2, 1, 2, 0, 1, 2};
  const auto banned = [&](int64_t size) {
    std::vector<double> z(4, 0.0);
    RepeatTokensLess({.no_repeat_ngram_size = size}, context, z);
    return z;
  };
  EXPECT_THAT(banned(3), ElementsAre(never, never, 0, 0));
  EXPECT_THAT(banned(2), ElementsAre(never, never, 0, 0));
  EXPECT_THAT(banned(4), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(banned(9), ElementsAre(0, 0, 0, 0));
  // Every token was there: a ban of all would leave nothing to say.
  EXPECT_THAT(banned(1), ElementsAre(0, 0, 0, 0));
}

TEST(LogitsOptionsTest, RangesAreRefusedByName) {
  const auto message = [](const LogitsOptions& options) {
    return Message(CheckLogitsOptions(options));
  };
  EXPECT_TRUE(CheckLogitsOptions({}).ok());
  EXPECT_THAT(message({.repetition_penalty = 0}),
              HasSubstr("repetition_penalty 0.000000; expected a number"));
  EXPECT_THAT(message({.no_repeat_ngram_size = -1}),
              HasSubstr("no_repeat_ngram_size"));
  EXPECT_THAT(message({.top_k = -1}), HasSubstr("top_k"));
  EXPECT_THAT(message({.top_p = 1.5}), HasSubstr("top_p"));
  EXPECT_THAT(message({.min_p = std::nan("")}), HasSubstr("min_p"));
  EXPECT_THAT(message({.typical_p = 0}), HasSubstr("typical_p"));
  EXPECT_THAT(message({.epsilon_cutoff = 1}), HasSubstr("epsilon_cutoff"));
  EXPECT_THAT(message({.min_tokens_to_keep = 0}),
              HasSubstr("min_tokens_to_keep"));
}

}  // namespace
}  // namespace align::samplers
