#include "align/report/compare_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

namespace align {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<MethodResult> TwoMethods() {
  return {{.method = "sft",
           .gold_mean = 0.4512,
           .gold_stderr = 0.0214,
           .length = 93.26,
           .distinct_2 = 0.4567,
           .seconds = 4.25,
           .seconds_own = 4.25,
           .tokens_sampled = 0,
           .tokens_trained = 9'999,
           .peak_rss_mb = 61.4,
           .models_held = 1},
          {.method = "best_of_n",
           .gold_mean = 0.7,
           .gold_stderr = 0.0151,
           .win_rate = 0.8125,
           .win_low = 0.764,
           .win_high = 0.8594,
           .kl = 1.3863,
           .kl_kind = "bound",
           .length = 90,
           .distinct_2 = 0.44,
           .seconds = 123.4,
           .seconds_own = 12.34,
           .tokens_sampled = 123'456,
           .tokens_trained = 2'345'678,
           .peak_rss_mb = 128,
           .models_held = 2}};
}

constexpr char kGoldenTable[] =
    R"(
method       gold reward        win vs sft      KL  length  dist-2  time   own  sampled  trained  memory    held
              mean +-err     % [95 % int.]    nats  tokens   share     s     s   tokens   tokens      MB  models
----------------------------------------------------------------------------------------------------------------
sft        0.451 +-0.021  50.0 [50.0,50.0]    0.00    93.3   0.457   4.2   4.2        0     9999      61       1
best_of_n  0.700 +-0.015  81.2 [76.4,85.9]  <=1.39    90.0   0.440   123  12.3     123k     2.3M     128       2
KL from sft: mean sampled log-ratio; <= marks the bound log n - (n-1)/n. dist-2: distinct bigrams.
time, sampled and trained include the earlier stages a method needs; own leaves them out.
)";

TEST(CompareReport, TableEqualsTheGoldenText) {
  // The literal starts with a line break, to align its lines here.
  EXPECT_EQ(RenderTable(TwoMethods()), kGoldenTable + 1);
}

TEST(CompareReport, TableStaysWithin120ColumnsForLargeNumbers) {
  std::vector<MethodResult> results = TwoMethods();
  results[1].method = "best_of_128";
  results[1].gold_mean = -12.345;
  results[1].gold_stderr = 10.5;
  results[1].win_rate = results[1].win_low = results[1].win_high = 1;
  results[1].kl = 1234.56;
  results[1].length = 1234.5;
  results[1].seconds = results[1].seconds_own = 98765;
  results[1].tokens_sampled = results[1].tokens_trained = 998'765'432'100;
  results[1].peak_rss_mb = 98765;
  std::istringstream table(RenderTable(results));
  for (std::string line; std::getline(table, line);) {
    EXPECT_LE(line.size(), 120u) << line;
  }
}

TEST(CompareReport, WhatIsNotKnownIsADash) {
  std::vector<MethodResult> results = TwoMethods();
  results[0].gold_stderr = std::nan("");
  results[0].kl = std::nan("");
  EXPECT_THAT(RenderMarkdownTable(results),
              HasSubstr("| sft | 0.451 +-? | 50.0 [50.0,50.0] | - |"));
  EXPECT_THAT(RenderTable(results), Not(HasSubstr("nan")));
}

TEST(CompareReport, MarkdownTableHoldsTheSameCells) {
  std::vector<MethodResult> results = TwoMethods();
  results[0].method = "a|b";
  const std::string table = RenderMarkdownTable(results);
  EXPECT_THAT(
      table,
      HasSubstr("| method | gold reward (mean +-err) | win vs sft (% [95 % "
                "int.]) | KL (nats) | length (tokens) | dist-2 (share) | time "
                "(s) | own (s) | sampled (tokens) | trained (tokens) | memory "
                "(MB) | held (models) |\n|:--|--:|"));
  EXPECT_THAT(table, HasSubstr("\n| a\\|b | 0.451 +-0.021 |"));
  EXPECT_THAT(table,
              HasSubstr("\n| best_of_n | 0.700 +-0.015 | 81.2 [76.4,85.9] | "
                        "<=1.39 | 90.0 | 0.440 | 123 | 12.3 | 123k | 2.3M | "
                        "128 | 2 |\n"));
}

TEST(CompareReport, JsonHasExactlyTheKeysInOrder) {
  const std::vector<MethodResult> results = TwoMethods();
  const auto json = ResultsJson(std::span(results).subspan(1));
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(*json, R"([
  {
    "method": "best_of_n",
    "gold_mean": 0.7,
    "gold_stderr": 0.0151,
    "win_rate": 0.8125,
    "win_low": 0.764,
    "win_high": 0.8594,
    "kl": 1.3863,
    "length": 90.0,
    "distinct_2": 0.44,
    "seconds": 123.4,
    "tokens_sampled": 123456,
    "tokens_trained": 2345678,
    "peak_rss_mb": 128.0,
    "seconds_own": 12.34,
    "kl_kind": "bound",
    "models_held": 2
  }
])");
}

TEST(CompareReport, JsonOfSftHasAWinRateOfOneHalf) {
  const auto json = ResultsJson(TwoMethods());
  ASSERT_TRUE(json.ok());
  EXPECT_THAT(*json, HasSubstr("\"win_rate\": 0.5,"));
}

TEST(CompareReport, JsonRefusesRowsThatCannotBe) {
  const auto message = [](const std::vector<MethodResult>& results) {
    return Message(ResultsJson(results).status());
  };
  std::vector<MethodResult> results = TwoMethods();
  results[1].kl_kind = "guess";
  EXPECT_THAT(message(results), HasSubstr("'best_of_n': kl_kind 'guess'"));
  results = TwoMethods();
  results[0].win_rate = 0.6;
  EXPECT_THAT(message(results), HasSubstr("against itself; expected 0.5"));
  results = TwoMethods();
  results[1].method = "sft";
  EXPECT_THAT(message(results), HasSubstr("'sft': twice"));
  results[1].method = "";
  EXPECT_THAT(message(results), HasSubstr("expected a name"));
  results[1].method = "\xff";
  EXPECT_EQ(ResultsJson(results).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CompareReport, SamplesShowPromptAndRepliesByMethod) {
  const std::vector<SamplesAcrossMethods> samples = {
      {"Once upon", {{"sft", " a time\n\nthe end", 0.25}, {"dpo", "", -1}}}};
  EXPECT_THAT(RenderSamplesMarkdown(samples),
              HasSubstr("\n## Prompt 1\n\n```text\nOnce upon\n```\n"
                        "\n### sft (gold 0.250)\n\n"
                        "```text\n a time\n\nthe end\n```\n"
                        "\n### dpo (gold -1.000)\n\n```text\n\n```\n"));
}

TEST(CompareReport, FencesAreLongerThanTheBackticksInside) {
  const std::vector<SamplesAcrossMethods> samples = {
      {"``", {{"sft", "a ```` b\n```\n<b>|", 0}}}};
  const std::string text = RenderSamplesMarkdown(samples);
  EXPECT_THAT(text, HasSubstr("```text\n``\n```\n"));
  EXPECT_THAT(text, HasSubstr("`````text\na ```` b\n```\n<b>|\n`````\n"));
}

}  // namespace
}  // namespace align
