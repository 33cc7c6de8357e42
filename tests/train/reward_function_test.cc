#include "align/train/reward_function.h"

#include <limits>

#include "gtest/gtest.h"
#include "tests/support/tiny_model.h"

namespace align::train {
namespace {

using Tokens = std::vector<std::vector<int32_t>>;

TEST(RewardModelFunction, ScoresDoNotDependOnBatching) {
  const auto model = TinyModel(1, false, true);
  Tokens prompts, completions;
  for (uint64_t i = 0; i < 12; ++i) {
    prompts.push_back(RandomTokens(5, Rng(i / 3)));
    completions.push_back(
        RandomTokens(static_cast<int64_t>(i % 5), Rng(100 + i)));
  }
  const auto all = RewardModelFunction(*model)(prompts, completions);
  const auto few =
      RewardModelFunction(*model, {.max_tokens = 20})(prompts, completions);
  ASSERT_TRUE(all.ok() && few.ok());
  ASSERT_EQ(all->size(), 12u);
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR((*all)[i], (*few)[i], 1e-4);
}

TEST(RewardByReply, GivesEachReplyItsOwnScore) {
  const auto score = RewardByReply(
      [](const std::vector<int32_t>& reply) { return reply.size() * 0.5; });
  EXPECT_EQ(*score(Tokens{{1}, {1}, {2}}, Tokens{{4}, {}, {7, 8}}),
            (std::vector<double>{0.5, 0, 1}));
}

TEST(RewardModelFunction, GainAndBiasApply) {
  const auto model = TinyModel(1, false, true);
  const Tokens prompts = {{1, 2, 3}}, completions = {{4, 5}};
  const auto raw = RewardModelFunction(*model)(prompts, completions);
  const auto scaled = RewardModelFunction(*model, {.gain = 2, .bias = -1})(
      prompts, completions);
  ASSERT_TRUE(raw.ok() && scaled.ok());
  EXPECT_NEAR((*scaled)[0], 2 * (*raw)[0] - 1, 1e-12);
}

TEST(RewardModelFunction, RefusesBadInput) {
  const auto model = TinyModel(1, false, true);
  const RewardFunction reward = RewardModelFunction(*model);
  for (const auto& [prompts, completions] :
       std::vector<std::pair<Tokens, Tokens>>{
           {{{}}, {{1}}}, {{{1}}, {}}, {{{1}}, {{61}}}}) {
    EXPECT_EQ(reward(prompts, completions).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(CheckRewards, RefusesNanAndAWrongCount) {
  EXPECT_TRUE(CheckRewards(std::vector<double>{1, 2}, 2).ok());
  EXPECT_FALSE(CheckRewards(std::vector<double>{1, 2}, 3).ok());
  EXPECT_FALSE(
      CheckRewards({{std::numeric_limits<double>::quiet_NaN()}}, 1).ok());
}

}  // namespace
}  // namespace align::train
