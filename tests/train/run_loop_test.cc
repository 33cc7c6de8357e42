#include "align/train/run_loop.h"

#include <cmath>
#include <limits>

#include "align/base/log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/train/toy_objective.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

struct Trajectory {
  std::vector<StepReport> reports;
  std::vector<float> values;
};

Trajectory RunToy(int64_t examples, const RunLoopOptions& options) {
  auto store = ToyStore(1);
  Optimizer optimizer({.learning_rate = 0.01}, nullptr, {store.get()});
  int64_t position = 0;
  Trajectory trajectory;
  const auto result = RunLoop(
      options, Quadratic(*store, examples, position), {store.get()}, optimizer,
      {[&](const StepReport& report) -> absl::StatusOr<ObserverResult> {
        trajectory.reports.push_back(report);
        return ObserverResult{};
      }});
  EXPECT_TRUE(result.ok());
  trajectory.values.assign(store->values().begin(), store->values().end());
  return trajectory;
}

TEST(RunLoop, EightMicroBatchesOfOneEqualOneOfEight) {
  const Trajectory one = RunToy(8, {.max_steps = 5, .accumulation = 1});
  const Trajectory eight = RunToy(1, {.max_steps = 5, .accumulation = 8});
  ASSERT_EQ(one.reports.size(), 5u);
  ASSERT_EQ(eight.reports.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(one.reports[i].loss / eight.reports[i].loss, 1, 1e-12);
    EXPECT_EQ(one.reports[i].grad_norm, eight.reports[i].grad_norm);
  }
  // The same additions in the same order: the same bits.
  EXPECT_EQ(one.values, eight.values);
}

TEST(RunLoop, LossFallsAndMetricsAreMeans) {
  const Trajectory run = RunToy(2, {.max_steps = 30, .accumulation = 3});
  EXPECT_LT(run.reports.back().loss, 0.8 * run.reports.front().loss);
  EXPECT_EQ(run.reports.front().metrics.at("examples"), 2);
  EXPECT_EQ(run.reports.front().step, 1);
}

TEST(RunLoop, ClippingScalesTheGradientToTheGivenNorm) {
  // With one step of plain AdamW only the direction matters, so the first
  // moment shows the clip: it is (1 - beta1) times the clipped gradient.
  auto store = ToyStore(1);
  Optimizer optimizer({}, nullptr, {store.get()});
  int64_t position = 0;
  ASSERT_TRUE(RunLoop({.max_steps = 1, .max_grad_norm = 0.5},
                      Quadratic(*store, 4, position), {store.get()}, optimizer,
                      {})
                  .ok());
  double squares = 0;
  const std::span<const float> first = optimizer.state()[0][0];
  for (float m : first) squares += 1.0 * m * m;
  EXPECT_NEAR(std::sqrt(squares), 0.1 * 0.5, 1e-6);
}

TEST(RunLoop, TheLastStepTakesWhatIsLeft) {
  auto store = ToyStore(1);
  Optimizer optimizer({}, nullptr, {store.get()});
  int64_t position = 0;
  const MicroSteps endless = Quadratic(*store, 1, position);
  const MicroSteps seven = [&]() -> absl::StatusOr<std::optional<MicroStep>> {
    if (position == 7) return std::optional<MicroStep>();
    return endless();
  };
  const auto result =
      RunLoop({.accumulation = 3}, seven, {store.get()}, optimizer, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->steps, 3);
  EXPECT_EQ(optimizer.steps(), 3);
}

TEST(RunLoop, NonFiniteStepsAreSkippedAndNeverReachTheOptimizer) {
  SetLogSink([](LogLevel, const std::string&) {});
  auto store = ToyStore(1);
  Optimizer optimizer({}, nullptr, {store.get()});
  int64_t position = 0;
  const MicroSteps good = Quadratic(*store, 1, position);
  const MicroSteps mixed = [&]() -> absl::StatusOr<std::optional<MicroStep>> {
    auto step = good();
    if (position % 2 == 0) {
      store->grads()[5] = std::numeric_limits<float>::quiet_NaN();
    }
    return step;
  };
  const auto result = RunLoop({.max_steps = 6, .max_skipped_steps = 2}, mixed,
                              {store.get()}, optimizer, {});
  SetLogSink(nullptr);
  ASSERT_TRUE(result.ok()) << Message(result.status());
  EXPECT_EQ(result->skipped, 3);
  EXPECT_EQ(optimizer.steps(), 3);
  for (float value : store->values()) ASSERT_TRUE(std::isfinite(value));
}

TEST(RunLoop, StopsAfterSkippingTooOftenAndNamesTheRecords) {
  SetLogSink([](LogLevel, const std::string&) {});
  auto store = ToyStore(1);
  Optimizer optimizer({}, nullptr, {store.get()});
  int64_t position = 0;
  const MicroSteps good = Quadratic(*store, 1, position);
  const MicroSteps bad = [&]() -> absl::StatusOr<std::optional<MicroStep>> {
    auto step = good();
    (*step)->loss_sum = std::numeric_limits<double>::infinity();
    return step;
  };
  const auto result =
      RunLoop({.max_skipped_steps = 3}, bad, {store.get()}, optimizer, {});
  SetLogSink(nullptr);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(result.status()), HasSubstr("row2"));
}

TEST(RunLoop, ObserversStopTheRun) {
  auto store = ToyStore(1);
  Optimizer optimizer({}, nullptr, {store.get()});
  int64_t position = 0;
  const auto result =
      RunLoop({.max_steps = 10}, Quadratic(*store, 1, position), {store.get()},
              optimizer,
              {[](const StepReport& report) -> absl::StatusOr<ObserverResult> {
                return ObserverResult{.stop = report.step == 4};
              }});
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->stopped);
  EXPECT_EQ(result->steps, 4);
}

}  // namespace
}  // namespace align::train
