#include <gmock/gmock.h>

#include "tests/cli/cli_fixture.h"
#include "tests/support/tokenizer_json.h"

namespace align {
namespace {

TEST_F(CliTest, TokenizeShowsIdsNamesAndBytes) {
  Write("tokenizer.json", ByteLevelJson().Text());
  const std::string tokenizer = Path("tokenizer.json");
  EXPECT_EQ(Output({"tokenize", tokenizer, "hello\n hello"}),
            "259\thello\thello\n10\t\xc4\x8a\t\\n\n"
            "261\t\xc4\xa0hello\t hello\n");
  EXPECT_EQ(Output({"tokenize", tokenizer, "--ids", "hello<|end|>"}),
            "259 60 124 101 110 100 124 62\n");
  EXPECT_EQ(
      Output({"tokenize", tokenizer, "--ids", "--markup", "hello<|end|>"}),
      "259 262\n");
  EXPECT_EQ(Output({"tokenize", tokenizer, "--decode", "259, 262 261"}),
            "hello hello\n");
  EXPECT_EQ(Output({"tokenize", tokenizer, "--markup", "--decode", "259 262"}),
            "hello<|end|>\n");
}

TEST_F(CliTest, TokenizeCountsWhatAFileHas) {
  Write("text.txt", "caf\xc3\xa9");
  EXPECT_EQ(
      Output({"tokenize", model(), "--file", Path("text.txt"), "--count"}),
      "tokens 5\ncharacters 4\nbytes 5\n");
  EXPECT_EQ(Output({"tokenize", model(), "--template", "--ids", "ab"}),
            "97 98\n");
}

TEST_F(CliTest, TokenizeRefusesWhatItCannotRead) {
  Write("tokenizer.json", "{}");
  ExpectRefused({"tokenize", Path("tokenizer.json"), "a"},
                {"tokenizer.json", "model: missing"});
  ExpectRefused({"tokenize", Path("none.json"), "a"}, {"none.json"});
  ExpectRefused({"tokenize", model()}, {"TEXT, --file and --decode"});
  ExpectRefused({"tokenize", model(), "a", "--decode", "1"}, {"one of"});
  ExpectRefused({"tokenize", model(), "--decode", "1 258"},
                {"--decode", "258", "0 to 257"});
  ExpectRefused({"tokenize", model(), "--decode", "x"}, {"\"x\""});
  ExpectRefused({"tokenize"}, {"Usage: align tokenize"});
}

TEST_F(CliTest, TokenizeShowsWhatConversationsTeach) {
  Write("chat.jsonl", R"({"messages":[{"role":"user","content":"</s>"},)"
                      R"({"role":"assistant","content":"a"}]})");
  const std::string file = Path("chat.jsonl");
  // The message's "</s>" is four letters; the template's is the token 257.
  EXPECT_EQ(Output({"tokenize", model(), "--conversations", file,
                    "--chat-template", "zephyr", "--ids"}),
            "60 124 117 115 101 114 124 62 10 60 47 115 62 257 10 60 124 97 "
            "115 115 105 115 116 97 110 116 124 62 10 97 257 10\n");
  EXPECT_THAT(Output({"tokenize", model(), "--conversations", file,
                      "--chat-template", "zephyr"}),
              ::testing::HasSubstr("\n*\t97\t<0x61>\ta\n*\t257\t</s>\t\n\t10"));
  EXPECT_EQ(Output({"tokenize", model(), "--conversations", file,
                    "--chat-template", "zephyr", "--rendered"}),
            "{\"text\": \"<|user|>\\n</s></s>\\n<|assistant|>\\na</s>\\n\"}\n");
  ExpectRefused({"tokenize", model(), "--conversations", file,
                 "--chat-template", "none_such"},
                {"none_such", "chatml"});
}

}  // namespace
}  // namespace align
