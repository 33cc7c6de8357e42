#include "align/tensor/storage.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace align {
namespace {

constexpr int64_t kAlignment = 64;

// Rounds up to four steps per power of two, at least one cache line: few
// enough sizes that blocks are found again, at most a quarter wasted.
int64_t SizeClass(int64_t bytes) {
  if (bytes <= kAlignment) return kAlignment;
  const int64_t step = std::max<int64_t>(
      kAlignment,
      static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes))) / 4);
  return (bytes + step - 1) / step * step;
}

class Pool {
 public:
  float* Take(int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    stats_.bytes_in_use += bytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.bytes_in_use);
    std::vector<float*>& idle = idle_[bytes];
    if (!idle.empty()) {
      float* block = idle.back();
      idle.pop_back();
      return block;
    }
    ++stats_.system_allocations;
    void* block = std::aligned_alloc(kAlignment, bytes);
    if (block == nullptr) throw std::bad_alloc();
    return static_cast<float*>(block);
  }

  void Give(float* block, int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    stats_.bytes_in_use -= bytes;
    idle_[bytes].push_back(block);
  }

  void Trim() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [bytes, blocks] : idle_) {
      for (float* block : blocks) std::free(block);
      blocks.clear();
    }
  }

  StorageStats stats() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stats_;
  }
  void ResetPeak() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stats_.peak_bytes = stats_.bytes_in_use;
  }

 private:
  std::mutex mutex_;
  std::map<int64_t, std::vector<float*>> idle_;
  StorageStats stats_;
};

// Process-wide like malloc itself; never destroyed, because tensors may outlive
// static destruction.
Pool& ThePool() {
  static Pool* const pool = new Pool;
  return *pool;
}

}  // namespace

Storage AllocateStorage(int64_t count) {
  const int64_t bytes =
      SizeClass(std::max<int64_t>(count, 1) * int64_t{sizeof(float)});
  return Storage(ThePool().Take(bytes),
                 [bytes](float* block) { ThePool().Give(block, bytes); });
}

StorageStats GetStorageStats() { return ThePool().stats(); }
void ResetStoragePeak() { ThePool().ResetPeak(); }
void TrimStorage() { ThePool().Trim(); }

}  // namespace align
