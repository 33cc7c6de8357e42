#include "align/base/thread_share.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace align {
namespace {

TEST(ThreadShareTest, AProcessAloneHasAllThreadsAndOthersTakeTheirPart) {
  auto share = ThreadShare::Create(5);
  ASSERT_TRUE(share.ok()) << share.status();
  EXPECT_EQ(share->Part(), 5);
  share->Enter();
  EXPECT_EQ(share->Part(), 5);
  share->Enter();
  EXPECT_EQ(share->Part(), 2);
  for (int i = 0; i < 8; ++i) share->Enter();
  EXPECT_EQ(share->Part(), 1);
  for (int i = 0; i < 9; ++i) share->Leave();
  EXPECT_EQ(share->Part(), 5);
  const ThreadShare moved = *std::move(share);
  EXPECT_EQ(moved.Part(), 5);
}

TEST(ThreadShareTest, AChildSeesWhoIsAtWork) {
  auto share = ThreadShare::Create(4);
  ASSERT_TRUE(share.ok()) << share.status();
  share->Enter();
  const pid_t child = ::fork();
  if (child == 0) {
    // A mapping of its own, as after exec.
    auto own = ThreadShare::Open(share->descriptor());
    if (!own.ok()) ::_exit(100);
    own->Enter();
    ::_exit(own->Part());
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_EQ(share->Part(), 2);
}

TEST(ThreadShareTest, OtherDescriptorsAreRefused) {
  std::FILE* const file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  for (const char c : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}) {
    std::fputc(c, file);
  }
  std::fflush(file);
  for (const int64_t descriptor : {int64_t{-1}, int64_t{1} << 40, int64_t{9999},
                                   int64_t{::fileno(file)}}) {
    const auto share = ThreadShare::Open(descriptor);
    EXPECT_EQ(share.status().code(), absl::StatusCode::kInvalidArgument)
        << descriptor;
  }
  std::fclose(file);
}

}  // namespace
}  // namespace align
