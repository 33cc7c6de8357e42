// DPO of the demo, shortened, in bf16 and in f32 over three seeds.

#include <gtest/gtest.h>
#include <simdjson.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/config/compare_job.h"
#include "align/config/compare_plan.h"
#include "align/config/parse.h"
#include "align/dnnl/precision.h"
#include "align/eval/statistics.h"
#include "proto/compare.pb.h"
#include "proto/config.pb.h"

namespace align {
namespace {

constexpr int kSeeds = 3;
constexpr int kSteps = 20;     // one epoch of two pairs a prompt
constexpr int kLastSteps = 8;  // whose means are how training ended

using Numbers = std::map<std::string, double>;

double MeanGold(const std::string& out, const std::string& stage) {
  const auto bytes = ReadFile(StageDirectory(out, stage) + "/samples.binpb");
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  if (!bytes.ok()) return std::nan("");
  pb::Samples samples;
  EXPECT_TRUE(samples.ParseFromString(*bytes));
  double sum = 0;
  for (const auto& prompt : samples.prompts()) sum += prompt.replies(0).gold();
  return sum / samples.prompts_size();
}

// How one run ended.
Numbers RunDpo(const std::string& precision, int seed, const std::string& out) {
  const std::string folder =
      std::string(ALIGN_SOURCE_DIR) + "/examples/reviews/";
  pb::CompareConfig config;
  EXPECT_TRUE(
      LoadConfig(folder + "compare.textproto",
                 {"base.path=" + folder + "policy",
                  "gold.reward_model=" + folder + "gold", "methods=dpo",
                  "seed=" + std::to_string(seed), "prompts.train=80",
                  "prompts.eval=96", "pairs.samples_per_prompt=4",
                  "dpo.training.steps=" + std::to_string(kSteps),
                  "dpo.training.batch_size=8", "precision=" + precision},
                 config)
          .ok());
  const absl::Status status = RunCompare(
      config, out, {.run_stage = nullptr, .print = nullptr, .stop = nullptr});
  EXPECT_TRUE(status.ok()) << status;
  Numbers numbers = {
      {"gold", MeanGold(out, "eval_dpo")},
      {"gain", MeanGold(out, "eval_dpo") - MeanGold(out, "eval_sft")}};
  simdjson::dom::parser parser;
  const std::string path = StageDirectory(out, "dpo") + "/metrics.jsonl";
  for (const simdjson::dom::element step : parser.load_many(path)) {
    if (int64_t{step["step"]} <= kSteps - kLastSteps) continue;
    for (const std::string name : {"rewards/accuracies", "rewards/margins"}) {
      numbers[name] += double{step[name]} / kLastSteps;
    }
  }
  return numbers;
}

class Bf16DpoTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // By name, the numbers of every seed.
  std::map<std::string, std::vector<double>> Seeds(
      const std::string& precision) const {
    std::map<std::string, std::vector<double>> all;
    for (int seed = 1; seed <= kSeeds; ++seed) {
      const std::string out =
          directory_ + "/" + precision + std::to_string(seed);
      for (const auto& [name, value] : RunDpo(precision, seed, out)) {
        all[name].push_back(value);
      }
    }
    return all;
  }

  std::string directory_ =
      ::testing::TempDir() + "/align_bf16_dpo_" + std::to_string(::getpid());
};

// Within three standard errors of the difference of the two means, as the seeds
// of both show it: on a CPU that rounds otherwise, other samples are drawn.
// What a seed draws is drawn again in bf16: another rounding is another sample.
TEST_F(Bf16DpoTest, EndsWithinTheNoiseOfF32OverThreeSeeds) {
  if (!HasFastBf16()) {
    GTEST_SKIP() << "this CPU has neither AVX512_BF16 nor AMX";
  }
  const auto f32 = Seeds("f32"), bf16 = Seeds("bf16");
  for (const auto& [name, values] : f32) {
    const MeanError one = MeanAndError(values);
    const MeanError other = MeanAndError(bf16.at(name));
    const double noise = std::hypot(one.stderr_of_mean, other.stderr_of_mean);
    RecordProperty(name, std::to_string(one.mean) + " +- " +
                             std::to_string(one.stderr_of_mean) + " in f32, " +
                             std::to_string(other.mean) + " +- " +
                             std::to_string(other.stderr_of_mean) + " in bf16");
    EXPECT_NEAR(one.mean, other.mean, 3 * noise) << name;
    if (name == "gold") continue;
    // Both learned: better than SFT, than half, than no margin.
    const double nothing = name == "rewards/accuracies" ? 0.5 : 0;
    EXPECT_GT(one.mean, nothing) << name;
    EXPECT_GT(other.mean, nothing) << name;
  }
}

}  // namespace
}  // namespace align
