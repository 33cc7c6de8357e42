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

}  // namespace
}  // namespace align
