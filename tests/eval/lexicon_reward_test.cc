#include "align/eval/lexicon_reward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "align/base/files.h"

namespace align {
namespace {

using ::testing::HasSubstr;

class LexiconRewardTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  absl::StatusOr<LexiconReward> Load(std::string_view rows) {
    EXPECT_TRUE(WriteFileAtomically(path_, rows).ok());
    return LexiconReward::Load(path_);
  }
  LexiconReward Words() {
    return *Load(
        "good\t1.9\t0.9\t[2, 2]\nbad\t-2.5\t0.6\t[-3]\ncan't\t-1\n"
        ":)\t2.0\t1\t[2]\n");
  }

  std::string path_ = ::testing::TempDir() + "/align_lexicon_test" +
                      std::to_string(::getpid()) + ".txt";
};

TEST_F(LexiconRewardTest, EqualsHandComputedValues) {
  const LexiconReward reward = Words();
  EXPECT_EQ(reward.size(), 4);
  // 1.9 / sqrt(3.61 + 15) and -2.5 / sqrt(6.25 + 15).
  EXPECT_NEAR(reward.Score("good"), 0.4404341, 1e-6);
  EXPECT_NEAR(reward.Score("bad"), -0.5423261, 1e-6);
  EXPECT_NEAR(reward.Score("good, bad and good"), 1.3 / std::sqrt(16.69),
              1e-12);
}

TEST_F(LexiconRewardTest, IsZeroWithoutAListedWord) {
  const LexiconReward reward = Words();
  EXPECT_EQ(reward.Score(""), 0);
  EXPECT_EQ(reward.Score("The table. 42"), 0);
}

TEST_F(LexiconRewardTest, WordsAreWholeRunsOfLettersAndApostrophes) {
  const LexiconReward reward = Words();
  EXPECT_EQ(reward.Score("goods goodbad 'good' can'ts"), 0);
  EXPECT_EQ(reward.Score("good2bad-GOOD"), reward.Score("good bad good"));
  EXPECT_LT(reward.Score("I CAN'T"), 0);
  EXPECT_EQ(reward.Score("can t"), 0);
}

TEST_F(LexiconRewardTest, EmoticonsNeverMatch) {
  EXPECT_EQ(Words().Score(":) :)"), 0);
}

TEST_F(LexiconRewardTest, BytesOutsideAsciiSeparateWords) {
  const LexiconReward reward = Words();
  EXPECT_EQ(reward.Score("good\xe2\x80\x99s"), reward.Score("good"));
  EXPECT_EQ(reward.Score(std::string_view("good\0bad\xff", 9)),
            reward.Score("good bad"));
}

TEST_F(LexiconRewardTest, LastRowOfARepeatedWordCounts) {
  const auto reward = Load("ok\t1.6\nok\t1.2\r\n\n");
  ASSERT_TRUE(reward.ok());
  EXPECT_EQ(reward->size(), 1);
  EXPECT_NEAR(reward->Score("ok"), 1.2 / std::sqrt(1.44 + 15), 1e-12);
}

TEST_F(LexiconRewardTest, BadRowsNameFileAndLine) {
  for (const char* row : {"word", "\t1.0", "word\t", "word\tfine", "word\t1.0x",
                          "word\tnan", "word\tinf", "word\t1e999"}) {
    const auto reward = Load(std::string("good\t1.9\n\n") + row + "\n");
    ASSERT_EQ(reward.status().code(), absl::StatusCode::kInvalidArgument)
        << row;
    EXPECT_THAT(Message(reward.status()), HasSubstr(path_ + ":3: ")) << row;
    EXPECT_THAT(Message(reward.status()), HasSubstr("expected")) << row;
  }
}

TEST_F(LexiconRewardTest, AnEmptyOrMissingFileIsAnError) {
  EXPECT_THAT(Message(Load("").status()), HasSubstr("no rows"));
  EXPECT_THAT(Message(LexiconReward::Load(path_ + ".no").status()),
              HasSubstr(path_ + ".no"));
}

}  // namespace
}  // namespace align
