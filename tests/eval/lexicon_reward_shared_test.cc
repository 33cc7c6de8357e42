#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "align/eval/lexicon_reward.h"

namespace align {
namespace {

double Normalised(double sum) { return sum / std::sqrt(sum * sum + 15); }

TEST(LexiconRewardShared, ScoresTheVaderLexicon) {
  const auto reward = LexiconReward::Load(std::string(ALIGN_SHARED_DIR) +
                                          "/data/sentiment/vader_lexicon.txt");
  ASSERT_TRUE(reward.ok()) << reward.status();
  EXPECT_EQ(reward->size(), 7506);  // 7,520 rows, 14 words twice
  // happy 2.7, loved 2.9, best 3.2, friend 2.2
  EXPECT_NEAR(reward->Score("Once upon a time there was a HAPPY little girl "
                            "who loved her best friend."),
              Normalised(11.0), 1e-12);
  // terrible -2.1, worst -3.1, cry -2.1
  EXPECT_NEAR(reward->Score("It was terrible, the worst day; don't cry! "
                            "can't stand'"),
              Normalised(-7.3), 1e-12);
  EXPECT_EQ(reward->Score("The table is made of wood."), 0);
}

}  // namespace
}  // namespace align
