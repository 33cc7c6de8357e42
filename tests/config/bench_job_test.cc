#include "align/config/bench_job.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "align/config/bench_data.h"

namespace align {
namespace {

std::vector<PairExample> Pairs(int prompts, int each) {
  std::vector<PairExample> pairs;
  for (int i = 0; i < prompts * each; ++i) {
    pairs.push_back({.prompt = {1, i % prompts},
                     .chosen = {2},
                     .rejected = {3},
                     .id = std::to_string(i)});
  }
  return pairs;
}

TEST(BenchDataTest, NoPromptIsInTwoParts) {
  bench::Settings settings{.eval_prompts = 3};
  const auto split = bench::SplitByPrompt(Pairs(11, 2), settings);
  ASSERT_TRUE(split.ok()) << split.status();
  std::map<bench::Tokens, int> parts;
  for (const auto& prompt : split->prompts.held_out) parts[prompt] |= 1;
  for (const auto& pair : split->judge) parts[pair.prompt] |= 2;
  for (const auto& pair : split->train) parts[pair.prompt] |= 4;
  std::map<int, int> prompts;
  for (const auto& [prompt, part] : parts) ++prompts[part];
  EXPECT_EQ(prompts, (std::map<int, int>{{1, 3}, {2, 4}, {4, 4}}));
  EXPECT_EQ(split->judge.size(), 8u);
  EXPECT_EQ(split->train.size(), 8u);
  for (const auto& prompt : split->prompts.train) EXPECT_EQ(parts[prompt], 4);

  settings.gold = "even";
  const auto whole = bench::SplitByPrompt(Pairs(11, 2), settings);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->judge.size(), 0u);
  EXPECT_EQ(whole->train.size(), 16u);
}

TEST(BenchJobTest, WhatWasNotReachedStandsBehindEveryNumber) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const bench::Spread odd = bench::SpreadOf({3, kNever, 1});
  EXPECT_EQ(odd.median, 3);
  EXPECT_EQ(odd.low, 1);
  EXPECT_EQ(odd.high, kNever);
  EXPECT_EQ(bench::SpreadOf({1, 2}).median, 1.5);
  EXPECT_EQ(bench::SpreadOf({kNever, kNever}).median, kNever);
}

}  // namespace
}  // namespace align
