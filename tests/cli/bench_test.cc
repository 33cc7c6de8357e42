// `align bench`: a table of costs from pairs or from prompts.

#include <string>
#include <string_view>
#include <vector>

#include "align/base/files.h"
#include "align/base/json_document.h"
#include "tests/cli/cli_fixture.h"

namespace align {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// `align bench` with `words`, at a size that ends at once.
std::vector<std::string> Bench(std::vector<std::string> words) {
  words.insert(words.begin(), "bench");
  words.insert(words.end(),
               {"--eval-prompts",     "4", "--prompts",         "4",
                "--prompt-tokens",    "4", "--reply-tokens",    "8",
                "--pairs-per-prompt", "2", "--reward-updates",  "2",
                "--cost-updates",     "2", "--max-updates",     "4",
                "--eval-every",       "2", "--rollout-prompts", "4",
                "--batch-pairs",      "4"});
  return words;
}

TEST_F(CliTest, BenchOnPairsTrainsItsJudgeAndShowsTheSpreadOverSeeds) {
  const ProcessResult result =
      Align(Bench({model(), Import("pairs"), "--seeds", "2", "--json",
                   Path("costs.json"), "--goal", "1e-9"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("[seed 2/2] judge: "),
                                HasSubstr("[seed 2/2] ppo, to the goal: ")));
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("gold reward: start "), HasSubstr("models held"),
                    HasSubstr(" of 2"), HasSubstr("Medians over 2 seeds")));

  const auto text = ReadFile(Path("costs.json"));
  ASSERT_TRUE(text.ok());
  simdjson::dom::parser parser;
  const auto root = ParseJsonObject(parser, *text, "costs.json", 16);
  ASSERT_TRUE(root.ok()) << root.status();
  std::vector<std::string> methods;
  std::vector<double> held;
  for (const auto method : simdjson::dom::array((*root)["methods"])) {
    methods.emplace_back(std::string_view(method["method"]));
    held.push_back(method["models_held"]["median"]);
    const double low = method["update_seconds"]["min"];
    const double median = method["update_seconds"]["median"];
    const double high = method["update_seconds"]["max"];
    EXPECT_GT(low, 0);
    EXPECT_LE(low, median);
    EXPECT_LE(median, high);
    EXPECT_GT(double(method["update_peak_rss_mb"]["min"]), 1);
    EXPECT_GT(double(method["update_tokens_trained"]["min"]), 0);
    EXPECT_EQ(simdjson::dom::array(method["gold"]["values"]).size(), 2);
  }
  EXPECT_THAT(methods, ElementsAre("dpo", "ppo"));
  EXPECT_THAT(held, ElementsAre(2, 4));
}

TEST_F(CliTest, BenchOnPromptsSamplesPairsThatTheGoldRewardJudges) {
  Write("prompts.jsonl", [] {
    std::string rows;
    for (int i = 0; i < 8; ++i) {
      rows += R"({"prompt": "say )" + std::to_string(i) + "\"}\n";
    }
    return rows;
  }());
  const std::string prompts = Import("prompts");
  const std::string table = Output(Bench({model(), prompts, "--gold", "even"}));
  EXPECT_THAT(table, HasSubstr("dpo"));
  // A goal that a byte model without training cannot reach in four updates.
  EXPECT_THAT(Output(Bench({model(), "--gold", "even", "--goal", "0.9"})),
              HasSubstr("not reached"));
  Output(Bench({model(), prompts, "--gold", Path("reward")}));
}

TEST_F(CliTest, BenchRefusesWhatItCannotMeasure) {
  ExpectRefused({"bench", Path("none")}, {"none"});
  ExpectRefused({"bench", model(), Path("none.tfrecord")}, {"none.tfrecord"});
  ExpectRefused({"bench", model(), "a", "b"}, {"Usage: align bench"});
  ExpectRefused({"bench", model()}, {"--gold is missing"});
  ExpectRefused({"bench", model(), "--gold", "even", "--seeds", "0"},
                {"--seeds 0", "1 to 100"});
  ExpectRefused({"bench", model(), "--gold", "even", "--dpo-rate", "0"},
                {"--dpo-rate 0", "a number in (0"});
  ExpectRefused({"bench", model(), "--gold", model()},
                {"--gold", "expected a sequence classifier"});
  ExpectRefused({"bench", model(), Import("pairs"), "--reply-tokens", "8"},
                {"pairs.tfrecord", "12 prompts; expected at least 66"});
  ExpectRefused({"bench", model(), Import("pairs"), "--reply-tokens", "64"},
                {"--reply-tokens 64", "the 64 tokens"});
  ExpectRefused(
      {"bench", model(), "--gold", "even", "--json", Path("no/costs.json")},
      {"no/costs.json"});
}

}  // namespace
}  // namespace align
