#pragma once

// What a parser may do with a hostile file: give a clear status, within a
// second and within memory that the file's size justifies. Replaces operator
// new: include it in one file of a test program.

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <new>
#include <string>

#include "align/base/status.h"

namespace align::hostile {

inline std::atomic<int64_t> bytes_held{0};
inline std::atomic<int64_t> most_held{0};

inline void* Take(size_t size) {
  void* const block = std::malloc(size);
  if (block == nullptr) return nullptr;
  const int64_t held = bytes_held +=
      static_cast<int64_t>(::malloc_usable_size(block));
  int64_t most = most_held;
  while (held > most && !most_held.compare_exchange_weak(most, held)) {
  }
  return block;
}
inline void Give(void* block) {
  if (block == nullptr) return;
  bytes_held -= static_cast<int64_t>(::malloc_usable_size(block));
  std::free(block);
}

// How many files were taken and how many refused.
struct Counts {
  int taken = 0;
  int refused = 0;
};

// Runs `parse` on one file of `size` bytes. Its status is OK or one of those
// that input can cause, and says where: it starts with `where`.
template <typename Parse>
void Check(size_t size, const std::string& where, int64_t memory_base,
           Counts& counts, Parse parse) {
  constexpr int64_t kBytesPerByte = 256;
  const auto cpu_seconds = [] {
    timespec now;
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) +
           1e-9 * static_cast<double>(now.tv_nsec);
  };
  const int64_t held_before = bytes_held;
  most_held = held_before;
  const double start = cpu_seconds();
  const absl::Status status = parse();
  EXPECT_LT(cpu_seconds() - start, 1.0);
  EXPECT_LE(most_held - held_before,
            memory_base + kBytesPerByte * static_cast<int64_t>(size));
  if (status.ok()) {
    ++counts.taken;
    return;
  }
  ++counts.refused;
  EXPECT_TRUE(status.code() == absl::StatusCode::kInvalidArgument ||
              status.code() == absl::StatusCode::kUnimplemented ||
              status.code() == absl::StatusCode::kNotFound)
      << status;
  EXPECT_EQ(Message(status).substr(0, where.size()), where);
  EXPECT_GT(Message(status).size(), where.size() + 4) << status;
  EXPECT_LT(Message(status).size(), 4096u);
}

}  // namespace align::hostile

void* operator new(size_t size) {
  if (void* const block = align::hostile::Take(size)) return block;
  throw std::bad_alloc();
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return align::hostile::Take(size);
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return align::hostile::Take(size);
}
void operator delete(void* block) noexcept { align::hostile::Give(block); }
void operator delete[](void* block) noexcept { align::hostile::Give(block); }
void operator delete(void* block, size_t) noexcept {
  align::hostile::Give(block);
}
void operator delete[](void* block, size_t) noexcept {
  align::hostile::Give(block);
}
