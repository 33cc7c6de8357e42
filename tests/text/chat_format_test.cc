#include "align/text/chat_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace align {
namespace {

using ::testing::HasSubstr;

TEST(ChatFormatTest, PromptEndsInTheAssistantsHeader) {
  const auto format = ChatFormat::Named("hh");
  ASSERT_TRUE(format.ok());
  const std::vector<ChatTurn> turns = {{"system", "Be kind."},
                                       {"user", "Hi"},
                                       {"assistant", "Hello"},
                                       {"user", "Bye"}};
  EXPECT_EQ(*format->RenderPrompt(turns),
            "Be kind.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: "
            "Bye\n\nAssistant:");
}

TEST(ChatFormatTest, RepliesAreSpansOfTheirOwn) {
  const auto format = ChatFormat::Named("hh");
  ASSERT_TRUE(format.ok());
  const std::vector<ChatTurn> turns = {{"user", "Hi"}, {"assistant", "Hello"}};
  const auto spans = format->Render(turns);
  ASSERT_TRUE(spans.ok());
  ASSERT_EQ(spans->size(), 2u);
  EXPECT_EQ((*spans)[0].text, "\n\nHuman: Hi\n\nAssistant:");
  EXPECT_FALSE((*spans)[0].is_reply);
  EXPECT_EQ((*spans)[1].text, " Hello");
  EXPECT_TRUE((*spans)[1].is_reply);
}

TEST(ChatFormatTest, UnknownNamesAndRolesAreRefused) {
  EXPECT_THAT(Message(ChatFormat::Named("nope").status()), HasSubstr("hh"));
  const std::vector<ChatTurn> turns = {{"robot", "Hi"}};
  EXPECT_THAT(Message(ChatFormat::Named("hh")->Render(turns).status()),
              HasSubstr("\"robot\""));
}

}  // namespace
}  // namespace align
