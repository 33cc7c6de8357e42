#include "align/base/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "align/base/threads.h"

namespace align {
namespace {

class TeamTest : public ::testing::Test {
 protected:
  void SetUp() override { SetThreads(3); }
  void TearDown() override { SetThreads(before_); }

 private:
  int before_ = Threads();
};

TEST_F(TeamTest, EveryLoopCallsEveryIndexOnceBeforeItEnds) {
  WithTeam([] {
    for (int64_t count = 0; count < 300; ++count) {
      std::vector<int> calls(count);
      ParallelFor(count, [&](int64_t i) { ++calls[i]; });
      EXPECT_EQ(calls, std::vector<int>(count, 1));
    }
  });
}

TEST_F(TeamTest, LoopsInsideLoopsAreSerial) {
  std::atomic<int64_t> sum = 0;
  WithTeam([&] {
    ParallelFor(5, [&](int64_t i) {
      int64_t inner = 0;  // not shared: a race would lose some
      ParallelFor(7, [&](int64_t j) { inner += 10 * i + j; });
      sum += inner;
    });
  });
  EXPECT_EQ(sum,
            7 * 10 * (0 + 1 + 2 + 3 + 4) + 5 * (0 + 1 + 2 + 3 + 4 + 5 + 6));
}

TEST_F(TeamTest, ReadingAheadLeavesLoopsAsTheyAreWhateverTheAddresses) {
  const std::vector<char> memory(1 << 16);
  const auto size = static_cast<int64_t>(memory.size());
  // The second begins where nothing is; of so many some are left out.
  const std::vector<MemoryStretch> all = {
      {},
      {reinterpret_cast<const void*>(uintptr_t{64}), int64_t{1} << 40},
      {memory.data(), size},
      {memory.data(), 1},
      {memory.data(), size},
      {memory.data(), size}};
  int64_t count = 0;
  std::vector<int> threads;
  const auto list = [&](int thread, std::vector<MemoryStretch>& stretches) {
    EXPECT_TRUE(stretches.empty());
    threads.push_back(thread);
    stretches.assign(all.begin() + (thread + count) % 3,
                     all.begin() + 3 + count % 4);
  };
  TeamReadsAhead(list);  // without a team
  EXPECT_TRUE(threads.empty());
  WithTeam([&] {
    for (; count < 300; ++count) {
      threads.clear();
      TeamReadsAhead(list);
      EXPECT_EQ(threads, std::vector<int>({1, 2}));
      std::vector<int> calls(count);
      ParallelFor(count, [&](int64_t i) { ++calls[i]; });
      EXPECT_EQ(calls, std::vector<int>(count, 1));
    }
  });
}

TEST_F(TeamTest, OnlyItsLeaderHasOne) {
  EXPECT_EQ(TeamThreads(), 1);
  WithTeam([] {
    EXPECT_EQ(TeamThreads(), 3);
    ParallelFor(4, [](int64_t) { EXPECT_EQ(TeamThreads(), 1); });
    EXPECT_EQ(TeamThreads(), 3);
  });
  EXPECT_EQ(TeamThreads(), 1);
  ParallelFor(4,
              [](int64_t) { WithTeam([] { EXPECT_EQ(TeamThreads(), 1); }); });
}

}  // namespace
}  // namespace align
