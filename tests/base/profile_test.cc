#include "align/base/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

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
}

}  // namespace
}  // namespace align
