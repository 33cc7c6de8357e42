#include "align/base/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace align {
namespace {

using ::testing::HasSubstr;

void Work(int milliseconds) {
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::milliseconds(milliseconds);
  while (std::chrono::steady_clock::now() < end) {
  }
}

TEST(ProfileTest, TimeOfAnInnerScopeIsNotTheOuterOnes) {
  Profile profile;
  {
    const ProfileRun run(profile);
    const auto phase = ProfileScope::Phase("attention");
    Work(2);
    const ProfileScope scope("Linear", /*flops=*/100, /*bytes=*/8);
    ProfileScope::AddWork(20, 2);
    Work(30);
  }
  ASSERT_EQ(profile.entries().size(), 2);
  const Profile::Entry& outer = profile.entries().at({"attention", "", false});
  const Profile::Entry& inner =
      profile.entries().at({"attention", "Linear", false});
  EXPECT_EQ(inner.flops, 120);
  EXPECT_EQ(inner.bytes, 10);
  EXPECT_GE(inner.seconds, 0.03);
  EXPECT_LT(outer.seconds, inner.seconds);
  EXPECT_DOUBLE_EQ(profile.seconds(), outer.seconds + inner.seconds);
}

TEST(ProfileTest, NothingIsMeasuredOutsideARun) {
  Profile profile;
  {
    const ProfileScope before("Linear");
    EXPECT_EQ(ProfileScope::CurrentPhase(), "");
  }
  { const ProfileRun run(profile); }
  { const ProfileScope after("Linear"); }
  EXPECT_TRUE(profile.entries().empty());
}

TEST(ProfileTest, AnotherThreadsScopesAreItsOwn) {
  Profile profile;
  const ProfileRun run(profile);
  std::thread([] { const ProfileScope scope("Linear"); }).join();
  EXPECT_TRUE(profile.entries().empty());
}

TEST(ProfileTest, TableAndTraceNamePhaseOperationAndDirection) {
  Profile profile(/*keep_events=*/true);
  {
    const ProfileRun run(profile);
    const auto scope = ProfileScope::Backward("mlp", "Linear");
  }
  EXPECT_THAT(profile.Table(), HasSubstr("mlp/Linear backward"));
  EXPECT_THAT(profile.ChromeTrace(), HasSubstr("\"mlp/Linear backward\""));
  EXPECT_THAT(profile.ChromeTrace(), HasSubstr("\"ph\": \"X\""));
  EXPECT_THAT(profile.ChromeTrace(), HasSubstr("\"events_left_out\": 0"));
}

TEST(ProfileTest, PhasesInsideAStageAreTheStages) {
  Profile profile;
  {
    const ProfileRun run(profile);
    const auto stage = ProfileScope::Stage("generate");
    const auto phase = ProfileScope::Phase("attention");
    EXPECT_EQ(ProfileScope::CurrentPhase(), "generate");
    const auto inner = ProfileScope::Stage("reward");
    const ProfileScope scope("Linear", /*flops=*/100);
  }
  ASSERT_EQ(profile.entries().size(), 2);
  EXPECT_EQ(profile.entries().at({"generate", "Linear", false}).flops, 100);
  EXPECT_EQ(profile.entries().at({"generate", "", false}).calls, 3);
}

// Lines of `table` that start with `name` and a space, up to an empty line.
std::vector<std::string> LinesOf(const std::string& table,
                                 const std::string& name) {
  std::vector<std::string> lines;
  std::istringstream in(table);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(name + " ")) lines.push_back(line);
  }
  return lines;
}

TEST(ProfileTest, APhasesLineSumsItsOperationsAndSaysTheirFloor) {
  Profile profile;
  {
    const ProfileRun run(profile);
    const auto phase = ProfileScope::Phase("mlp");
    // 1 s of operations, then 3 s of bytes, at the rates below.
    { const ProfileScope product("product", /*flops=*/2e9, /*bytes=*/1e9); }
    { const ProfileScope gate("GatedActivation", /*flops=*/0, /*bytes=*/6e9); }
    Work(20);
  }
  const std::vector<std::string> plain = LinesOf(profile.Table(), "mlp");
  ASSERT_EQ(plain.size(), 2);  // the phase, and what is in no operation
  EXPECT_THAT(plain[0], HasSubstr(" 2.000 "));
  EXPECT_THAT(plain[0], HasSubstr(" 7.000 "));
  const std::string table =
      profile.Table({.flops_per_second = 2e9, .bytes_per_second = 2e9});
  EXPECT_THAT(table, HasSubstr("floor %"));
  EXPECT_THAT(table, HasSubstr("floor: 2 GFLOP/s, 2.0 GB/s"));
  char share[32];
  std::snprintf(share, sizeof share, " %.1f", 100 * 4 / profile.seconds());
  EXPECT_THAT(LinesOf(table, "mlp")[0], ::testing::EndsWith(share));
  EXPECT_THAT(LinesOf(table, "in all")[0], ::testing::EndsWith(share));
}

TEST(ProfileTest, WorkOfOtherThreadsCountsAndTheirTimeDoesNot) {
  Profile profile;
  {
    const ProfileRun run(profile);
    const auto stage = ProfileScope::Stage("generate");
    ProfileThreads threads;
    const auto work = [] {
      const auto phase = ProfileScope::Phase("mlp");
      const ProfileScope scope("Linear", /*flops=*/100, /*bytes=*/10);
      Work(5);
    };
    std::thread other([&] { threads.Run(work); });
    other.join();
    threads.Run(work);
  }
  const Profile::Entry& entry =
      profile.entries().at({"generate", "Linear", false});
  EXPECT_EQ(entry.calls, 1);
  EXPECT_EQ(entry.flops, 200);
  EXPECT_EQ(entry.bytes, 20);
  EXPECT_GE(entry.seconds, 0.005);
  // The wait for the other thread is the stage's.
  EXPECT_GE(profile.entries().at({"generate", "", false}).seconds, 0.005);
  EXPECT_EQ(profile.entries().size(), 2);
}

}  // namespace
}  // namespace align
