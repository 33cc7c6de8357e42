#include "align/report/event_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "align/base/files.h"
#include "tests/support/read_events.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::map<std::string, float> Scalars(const pb::ScalarEvent& event) {
  std::map<std::string, float> scalars;
  for (const auto& value : event.summary().value()) {
    scalars[value.tag()] = value.simple_value();
  }
  return scalars;
}

TEST(EventObserverTest, EveryStepIsReadBackUnderTheNamesOfTheCallback) {
  const std::string directory = ::testing::TempDir() +
                                "/align_event_observer_test" +
                                std::to_string(::getpid());
  std::filesystem::remove_all(directory);
  ASSERT_TRUE(MakeDirectories(directory).ok());
  double now = 100;
  const auto observer = EventFileObserver(directory, {.wall_time = now},
                                          [&now] { return now += 1; });
  ASSERT_TRUE(observer.ok()) << observer.status();
  ASSERT_TRUE((*observer)({.step = 1,
                           .loss = 0.5,
                           .grad_norm = 2,
                           .learning_rate = 0.25,
                           .metrics = {{"rewards/margins", -1}}})
                  .ok());
  ASSERT_TRUE(
      (*observer)({.step = 2, .loss = NAN, .skipped = true, .metrics = {}})
          .ok());
  const auto events =
      ReadEvents(directory + "/events.out.tfevents.0000000100.localhost.0.0");
  std::filesystem::remove_all(directory);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].step(), 1);
  EXPECT_EQ(events[1].wall_time(), 101);
  EXPECT_THAT(
      Scalars(events[1]),
      ElementsAre(Pair("train/grad_norm", 2), Pair("train/learning_rate", 0.25),
                  Pair("train/loss", 0.5), Pair("train/rewards/margins", -1)));
  EXPECT_EQ(events[2].step(), 2);
  EXPECT_THAT(Scalars(events[2]), ElementsAre(Pair("train/learning_rate", 0)));
}

}  // namespace
}  // namespace align
