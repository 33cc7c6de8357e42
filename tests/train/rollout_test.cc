#include "align/train/rollout.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "gtest/gtest.h"

namespace align::train {
namespace {

TEST(RolloutSchedule, EveryPromptComesOnceBeforeAnyComesAgain) {
  RolloutSchedule schedule({.prompts = 4}, 10, Rng(1));
  std::vector<int64_t> all;
  for (int rollout = 0; rollout < 5; ++rollout) {
    for (int64_t prompt : schedule.Prompts()) all.push_back(prompt);
    schedule.Begin(0);
    schedule.NextBatch();
  }
  EXPECT_EQ(std::set<int64_t>(all.begin(), all.begin() + 10).size(), 10u);
  EXPECT_EQ(std::set<int64_t>(all.begin() + 10, all.end()).size(), 10u);
}

TEST(RolloutSchedule, MinibatchesCoverARolloutInEveryEpoch) {
  RolloutSchedule schedule({.prompts = 7, .epochs = 2, .minibatches = 3}, 9,
                           Rng(1));
  schedule.Begin(5);
  std::vector<std::vector<int64_t>> epochs(2);
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(schedule.between_rollouts());
    for (int64_t member : schedule.NextBatch()) epochs[i / 3].push_back(member);
  }
  EXPECT_TRUE(schedule.between_rollouts());
  EXPECT_NE(epochs[0], epochs[1]);
  for (std::vector<int64_t>& epoch : epochs) {
    std::ranges::sort(epoch);
    EXPECT_EQ(epoch, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6}));
  }
  EXPECT_EQ(schedule.state().tokens_sampled, 5);
  EXPECT_EQ(schedule.state().rollout, 1);
}

TEST(RolloutSchedule, AStateGivesTheSamePromptsAndStream) {
  RolloutSchedule straight({.prompts = 4}, 10, Rng(1)), resumed = straight;
  straight.Begin(0);
  straight.NextBatch();
  resumed.set_state(straight.state());
  EXPECT_EQ(straight.Prompts(), resumed.Prompts());
  EXPECT_EQ(straight.SamplingStream().Below(1 << 30),
            resumed.SamplingStream().Below(1 << 30));
}

TEST(RolloutSchedule, EndsAfterTheRolloutsOfThePlan) {
  RolloutSchedule schedule({.prompts = 2, .rollouts = 1}, 2, Rng(1));
  EXPECT_FALSE(schedule.done());
  schedule.Begin(0);
  EXPECT_TRUE(schedule.done());
}

TEST(CheckInitialRatios, WantsRatiosOfOne) {
  StepReport report;
  report.metrics = {{"val/ratio", 1.0}, {"policy/approxkl_avg", 0.0}};
  EXPECT_TRUE(CheckInitialRatios(report).ok());
  report.metrics["val/ratio"] = 1.001;
  EXPECT_EQ(CheckInitialRatios(report).code(),
            absl::StatusCode::kFailedPrecondition);
  report.metrics["val/ratio"] = std::nan("");
  EXPECT_FALSE(CheckInitialRatios(report).ok());
  report.metrics = {{"val/ratio", 1.0}, {"policy/approxkl_avg", 1e-3}};
  EXPECT_FALSE(CheckInitialRatios(report).ok());
  report.metrics.clear();
  EXPECT_FALSE(CheckInitialRatios(report).ok());
}

}  // namespace
}  // namespace align::train
