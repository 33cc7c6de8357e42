// What a user can get wrong on the command line: one line, exit code 2.

#include "tests/cli/cli_fixture.h"

namespace align {
namespace {

TEST_F(CliTest, UnknownCommandNamesTheNearest) {
  ExpectRefused({"trian"}, {"'trian'", "did you mean 'train'?"});
  ExpectRefused({"help", "compar"}, {"did you mean 'compare'?"});
  ExpectRefused({"zzzzzz"}, {"'zzzzzz' is unknown", "Known: import, train"});
}

TEST_F(CliTest, UnknownFlagOfEveryCommandNamesTheNearest) {
  for (const std::string& command : kCommands) {
    ExpectRefused({command, "--thread", "2"},
                  {"align " + command, "'--thread' is unknown",
                   "did you mean '--threads'?"});
  }
  ExpectRefused({"import", "-out", "x"}, {"did you mean '--out'?"});
  ExpectRefused({"sample", "--top_k=3", model()}, {"'--top-k'"});
}

TEST_F(CliTest, FlagsCheckTheirValues) {
  ExpectRefused({"list", "losses", "--threads", "0"}, {"1 to 1024"});
  ExpectRefused({"list", "losses", "--threads", "two"}, {"two", "1 to 1024"});
  ExpectRefused({"list", "losses", "--threads"}, {"--threads needs a value"});
  ExpectRefused({"list", "losses", "--markdown=yes"}, {"takes no value"});
  ExpectRefused({"sample", model(), "--prompt", "a", "--samples", "0"},
                {"--samples 0"});
  ExpectRefused({"sample", model(), "--prompt", "a", "--temperature", "hot"},
                {"--temperature hot", "a number"});
  ExpectRefused({"sample", model(), "--prompt", "a", "--temperature=-1"},
                {"temperature"});
  ExpectRefused({"sample", model(), "--prompt", "a", "--top-p", "1.5"},
                {"top_p"});
  ExpectRefused({"sample", model(), "--prompt", "a", "--min-p", "2"},
                {"min_p 2", "0 to 1"});
  ExpectRefused(
      {"sample", model(), "--prompt", "a", "--repetition-penalty", "0"},
      {"repetition_penalty", "above 0"});
  ExpectRefused({"sample", model(), "--prompt", "a", "--cache-mode", "small"},
                {"--cache-mode small", "exact or absorbed"});
  ExpectRefused(
      {"sample", model(), "--prompt", "a", "--cache-mode", "absorbed"},
      {"LlamaForCausalLM has no latent attention"});
}

TEST_F(CliTest, MissingArgumentsShowTheUsage) {
  for (const std::string& command : kCommands) {
    ExpectRefused({command}, {"Usage: align " + command});
  }
  Write("c.textproto", "");
  ExpectRefused({"import", Path("pairs.jsonl")}, {"--out is missing"});
  ExpectRefused({"train", Path("c.textproto")}, {"--out is missing"});
  ExpectRefused({"compare", Path("c.textproto")}, {"--out is missing"});
  ExpectRefused(
      {"compare", Path("c.textproto"), "--out", Path("x"), "--jobs", "0"},
      {"--jobs 0", "1 to 64"});
  ExpectRefused({"sample", model()}, {"--prompt", "--prompts"});
  ExpectRefused({"sample", model(), "--prompt", "a", "--prompts", "b"},
                {"one of --prompt and --prompts"});
  ExpectRefused({"list", "loses"}, {"did you mean 'losses'?"});
  ExpectRefused({"list", "losses", "sigmod"}, {"did you mean 'sigmoid'?"});
}

TEST_F(CliTest, FilesThatAreNotThereAreNamed) {
  const std::string none = Path("none");
  ExpectRefused({"import", none, "--out", Path("x.tfrecord")}, {none});
  ExpectRefused({"train", none, "--out", Path("x")}, {none});
  ExpectRefused({"compare", none, "--out", Path("x")}, {none});
  ExpectRefused({"sample", none, "--prompt", "a"}, {none});
  ExpectRefused({"sample", model(), "--prompts", none}, {none});
  ExpectRefused({"eval", none, none}, {none});
  ExpectRefused({"eval", model(), none}, {none});
  ExpectRefused({"show-batch", model(), none}, {none});
  EXPECT_FALSE(FileExists(Path("x")));
  EXPECT_FALSE(FileExists(Path("x.tfrecord")));
}

TEST_F(CliTest, UnknownConfigKeysNameTheirLineAndTheNearest) {
  Write("c.textproto", "method: \"sft\"\noptimizr { beta1: 0.9 }\n");
  ExpectRefused({"train", Path("c.textproto"), "--out", Path("x")},
                {"c.textproto:2:", "did you mean 'optimizer'?"});
  ExpectRefused({"compare", Path("c.textproto"), "--out", Path("x")},
                {"c.textproto:1:"});
  Write("c.textproto", "");
  ExpectRefused({"train", Path("c.textproto"), "loop.step=3", "--dry-run"},
                {"did you mean 'steps'?"});
  ExpectRefused({"compare", Path("c.textproto"), "dpoo.loss.name=ipo"},
                {"did you mean 'dpo'?"});
  ExpectRefused({"train", Path("c.textproto"), "method=dpo", "--dry-run"},
                {"method", "'dpo'", "preference"});
}

// Only train and compare have a config.
TEST_F(CliTest, OverridesWhereThereIsNoConfigAreNotDroppedInSilence) {
  ExpectRefused({"eval", model(), Path("x"), "max_records=3"}, {"Usage"});
  ExpectRefused({"list", "losses", "beta=1"}, {"beta=1"});
}

TEST_F(CliTest, AJobThatFailsForAnotherReasonExitsWithOne) {
  Write("broken.tfrecord", "not a record file");
  const ProcessResult result =
      Align({"eval", model(), Path("broken.tfrecord")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, ::testing::HasSubstr("broken.tfrecord"));
}

}  // namespace
}  // namespace align
