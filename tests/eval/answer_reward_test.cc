#include "align/eval/answer_reward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "align/text/byte_tokenizer.h"

namespace align {
namespace {

using ::testing::HasSubstr;

TEST(FinalAnswer, IsWhatTheTextMarks) {
  EXPECT_EQ(FinalAnswer("48 / 2 = 24\n48 + 24 = 72\n#### 72"), "72");
  EXPECT_EQ(FinalAnswer("#### 5\nNo: #### 1,234\nDone 9."), "1,234");
  EXPECT_EQ(FinalAnswer(R"(So $x = \boxed{\frac{1}{2}}$ of 3.)"),
            R"(\frac{1}{2})");
  EXPECT_EQ(FinalAnswer(R"(\boxed{1} then \boxed{2})"), "2");
  EXPECT_EQ(FinalAnswer("#### 1 <answer> 42 </answer>"), "42");
  EXPECT_EQ(FinalAnswer("<think>#### 1, or 2?</think> It is 3"), "3");
}

TEST(FinalAnswer, IsElseTheLastNumber) {
  EXPECT_EQ(FinalAnswer("It costs $1,250.50."), "1,250.50");
  EXPECT_EQ(FinalAnswer("between 3 and -4"), "-4");
  EXPECT_EQ(FinalAnswer("a debt of -$5"), "-5");
  EXPECT_EQ(FinalAnswer("5-3"), "3");
  EXPECT_EQ(FinalAnswer("half is .5"), ".5");
  EXPECT_EQ(FinalAnswer("1, 2"), "2");
  EXPECT_EQ(FinalAnswer("none"), std::nullopt);
  EXPECT_EQ(FinalAnswer(""), std::nullopt);
}

TEST(MarkedAnswer, IsNothingWhereTheMarkIsEmptyOrOpen) {
  EXPECT_EQ(MarkedAnswer("72"), std::nullopt);
  EXPECT_EQ(MarkedAnswer("#### "), std::nullopt);
  EXPECT_EQ(MarkedAnswer(R"(\boxed{1)"), std::nullopt);
  EXPECT_EQ(MarkedAnswer("<answer>4"), std::nullopt);
  EXPECT_EQ(MarkedAnswer("<answer></answer> #### 4"), "4");
}

TEST(NormalizedAnswer, MakesSpellingsOfOneAnswerEqual) {
  for (const char* text : {"1234", "1,234", "$1,234", "+1234.00", "01234",
                           " 1234. ", R"(\text{1234})", R"(1\,234)"}) {
    EXPECT_EQ(NormalizedAnswer(text), "1234") << text;
  }
  EXPECT_EQ(NormalizedAnswer(".50"), "0.5");
  EXPECT_EQ(NormalizedAnswer("50%"), NormalizedAnswer(R"(50\%)"));
  EXPECT_EQ(NormalizedAnswer("-0.0"), "0");
  EXPECT_EQ(NormalizedAnswer("-3.10"), "-3.1");
  EXPECT_EQ(NormalizedAnswer(R"(\dfrac{1}{\frac{2}{3}})"), "1/2/3");
  EXPECT_EQ(NormalizedAnswer(R"(\left(A, b\right))"), "(a,b)");
  EXPECT_EQ(NormalizedAnswer(R"(\frac{1}{2)"), R"(\frac{1}{2)");
  EXPECT_NE(NormalizedAnswer("12"), NormalizedAnswer("1.2"));
  EXPECT_EQ(NormalizedAnswer("1.2.3"), "1.2.3");
  EXPECT_EQ(NormalizedAnswer(""), "");
}

class AnswerRewardTest : public ::testing::Test {
 protected:
  std::vector<int32_t> Ids(const std::string& text) const {
    return tokenizer_.EncodeContinuation(text);
  }
  std::vector<double> Score(const train::RewardFunction& reward,
                            const std::vector<std::string>& prompts,
                            const std::vector<std::string>& replies) const {
    std::vector<std::vector<int32_t>> of, ids;
    for (const std::string& prompt : prompts) of.push_back(Ids(prompt));
    for (const std::string& reply : replies) ids.push_back(Ids(reply));
    const auto scores = reward(of, ids);
    EXPECT_TRUE(scores.ok()) << scores.status();
    return *scores;
  }
  PromptBatch Prompts(const std::vector<std::string>& texts,
                      const std::vector<std::string>& answers) const {
    PromptBatch batch;
    for (const std::string& text : texts) {
      batch.prompts.push_back(Ids(text));
      batch.ids.push_back("id of " + text);
    }
    batch.answers = answers;
    return batch;
  }
  ByteTokenizer tokenizer_;
};

TEST_F(AnswerRewardTest, ComparesWithTheRecordsAnswer) {
  const auto reward = AnswerRewardFunction(
      Prompts({"a", "b", "c"}, {"6 * 7 = 42 #### 42", "x + 1", ""}),
      tokenizer_);
  ASSERT_TRUE(reward.ok()) << reward.status();
  const std::vector<double> scores = Score(
      *reward, {"a", "a", "a", "b", "b", "c"},
      {"It is 42.", "#### 42.0", "42 or 43", R"(\boxed{X+1})", "x + 1", "42"});
  EXPECT_EQ(std::vector<double>(scores.begin(), scores.end() - 1),
            (std::vector<double>{1, 1, 0, 1, 0}));
  EXPECT_TRUE(std::isnan(scores.back()));
}

TEST_F(AnswerRewardTest, RefusesNoAnswersAndTwoForOnePrompt) {
  EXPECT_THAT(
      Message(AnswerRewardFunction(Prompts({"a"}, {""}), tokenizer_).status()),
      HasSubstr("no prompt has one"));
  EXPECT_THAT(
      Message(AnswerRewardFunction(Prompts({"a"}, {}), tokenizer_).status()),
      HasSubstr("no prompt has one"));
  EXPECT_TRUE(
      AnswerRewardFunction(Prompts({"a", "a"}, {"1", "1.0"}), tokenizer_).ok());
  EXPECT_THAT(
      Message(AnswerRewardFunction(Prompts({"a", "a"}, {"1", "2"}), tokenizer_)
                  .status()),
      HasSubstr("prompt id of a has the answer '2'"));
}

TEST_F(AnswerRewardTest, FormatsAreRewardedForThemselves) {
  EXPECT_EQ(Score(AnswerFormatRewardFunction(tokenizer_), {"p", "p", "p"},
                  {"#### wrong", "42", R"(\boxed{4})"}),
            (std::vector<double>{1, 0, 1}));
  const std::vector<std::string> replies = {
      "<think>2 + 2</think>4",        // as asked
      " well, 2 + 2 </think> 4",      // the prompt opened the tag
      "<think>2 + 2</think>\n",       // no answer
      "<think>2 + 2 4",               // no end
      "so <think>2 + 2</think> 4",    // speaks first
      "<think>a</think>b</think>c"};  // ends twice
  EXPECT_EQ(Score(ThinkFormatRewardFunction(tokenizer_),
                  std::vector<std::string>(6, "p"), replies),
            (std::vector<double>{1, 1, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace align
