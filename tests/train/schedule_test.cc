#include "align/train/schedule.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

double At(const ScheduleOptions& options, int64_t step) {
  const auto schedule = MakeSchedule(options);
  EXPECT_TRUE(schedule.ok()) << Message(schedule.status());
  return (*schedule)(step);
}

TEST(Schedule, WarmUpStartsAtZeroAndReachesOneAtItsEnd) {
  for (ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kLinear,
                            ScheduleKind::kCosine}) {
    const ScheduleOptions options{
        .kind = kind, .warmup_steps = 4, .total_steps = 20};
    EXPECT_EQ(At(options, 0), 0.0);
    EXPECT_EQ(At(options, 1), 0.25);
    EXPECT_EQ(At(options, 4), 1.0);
  }
}

TEST(Schedule, ConstantStaysAtOne) {
  EXPECT_EQ(At({}, 0), 1.0);
  EXPECT_EQ(At({.warmup_steps = 2}, 1000000), 1.0);
}

TEST(Schedule, LinearFallsToZeroAndStaysThere) {
  const ScheduleOptions options{
      .kind = ScheduleKind::kLinear, .warmup_steps = 2, .total_steps = 10};
  EXPECT_EQ(At(options, 4), 0.75);
  EXPECT_EQ(At(options, 10), 0.0);
  EXPECT_EQ(At(options, 11), 0.0);
}

TEST(Schedule, CosineFallsAsHalfAPeriod) {
  const ScheduleOptions options{
      .kind = ScheduleKind::kCosine, .warmup_steps = 2, .total_steps = 14};
  EXPECT_NEAR(At(options, 6), 0.75, 1e-15);  // (1 + cos(pi / 3)) / 2
  EXPECT_NEAR(At(options, 8), 0.5, 1e-15);
  EXPECT_NEAR(At(options, 14), 0.0, 1e-15);
}

TEST(Schedule, RestartsBeginEachPeriodAtThePeak) {
  const ScheduleOptions options{.kind = ScheduleKind::kCosineWithRestarts,
                                .total_steps = 12,
                                .cycles = 3};
  for (const int64_t step : {0, 4, 8}) EXPECT_NEAR(At(options, step), 1, 1e-12);
  EXPECT_NEAR(At(options, 6), 0.5, 1e-15);
  EXPECT_EQ(At(options, 12), 0.0);
}

TEST(Schedule, EndsAtItsMinimum) {
  for (const ScheduleOptions& options :
       {ScheduleOptions{.kind = ScheduleKind::kCosineWithMinimum,
       .total_steps = 10,
       .minimum = 0.25},
        ScheduleOptions{.kind = ScheduleKind::kWarmupStableDecay,
        .total_steps = 10,
        .minimum = 0.25,
        .decay_steps = 4},
        ScheduleOptions{.kind = ScheduleKind::kPolynomial,
        .total_steps = 10,
        .power = 3,
        .end = 0.25}}) {
    EXPECT_EQ(At(options, 0), 1.0);
    EXPECT_NEAR(At(options, 10), 0.25, 1e-15);
  }
}

TEST(Schedule, StableUntilTheDecay) {
  const ScheduleOptions options{.kind = ScheduleKind::kWarmupStableDecay,
                                .warmup_steps = 2,
                                .total_steps = 20,
                                .decay_steps = 8};
  EXPECT_EQ(At(options, 1), 0.5);
  EXPECT_EQ(At(options, 11), 1.0);
  EXPECT_NEAR(At(options, 16), 0.5, 1e-15);
  EXPECT_EQ(At(options, 30), 0.0);
}

TEST(Schedule, InverseSqrtHalvesAtFourTimesTheWarmUp) {
  const ScheduleOptions options{.kind = ScheduleKind::kInverseSqrt,
                                .warmup_steps = 100};
  EXPECT_EQ(At(options, 100), 1.0);
  EXPECT_EQ(At(options, 400), 0.5);
  EXPECT_EQ(At({.kind = ScheduleKind::kInverseSqrt}, 30000), 0.5);
}

TEST(Schedule, WarmUpMayBeTheWholeRun) {
  EXPECT_EQ(
      At({.kind = ScheduleKind::kLinear, .warmup_steps = 5, .total_steps = 5},
         4),
      0.8);
}

TEST(Schedule, RefusesLengthsThatMakeNoSense) {
  for (const ScheduleOptions& options :
       {ScheduleOptions{.warmup_steps = -1},
        ScheduleOptions{.kind = ScheduleKind::kLinear},
        ScheduleOptions{.kind = ScheduleKind::kCosine,
        .total_steps = 5,
        .cycles = std::nan("")},
        ScheduleOptions{
            .kind = ScheduleKind::kCosine, .warmup_steps = 9, .total_steps = 5},
        ScheduleOptions{.kind = ScheduleKind::kWarmupStableDecay,
        .warmup_steps = 3,
        .total_steps = 5,
        .decay_steps = 3},
        ScheduleOptions{.minimum = 1.5}, ScheduleOptions{.power = -1},
        ScheduleOptions{.end = 1}}) {
    EXPECT_EQ(MakeSchedule(options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(ParseScheduleKind, NamesWhatIsAllowed) {
  EXPECT_EQ(*ParseScheduleKind("cosine"), ScheduleKind::kCosine);
  EXPECT_EQ(*ParseScheduleKind("linear"), ScheduleKind::kLinear);
  EXPECT_EQ(*ParseScheduleKind("constant"), ScheduleKind::kConstant);
  EXPECT_THAT(Message(ParseScheduleKind("cosin").status()),
              HasSubstr("constant, constant_with_warmup, linear, cosine"));
}

}  // namespace
}  // namespace align::train
