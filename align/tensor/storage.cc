#include "align/tensor/storage.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "align/tensor/storage_bytes.h"

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

// A block and its size, which may exceed what was asked for.
struct Block {
  float* data = nullptr;
  int64_t bytes = 0;
};

class Pool {
 public:
  Block Take(int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Block block = FromIdle(bytes);
    if (block.data == nullptr) {
      FreeFor(bytes);
      ++stats_.system_allocations;
      block = {static_cast<float*>(std::aligned_alloc(kAlignment, bytes)),
               bytes};
      if (block.data == nullptr) throw std::bad_alloc();
    }
    stats_.bytes_in_use += block.bytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.bytes_in_use);
    most_in_use_ = std::max(most_in_use_, stats_.bytes_in_use);
    return block;
  }

  void Give(const Block& block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    stats_.bytes_in_use -= block.bytes;
    stats_.idle_bytes += block.bytes;
    idle_[block.bytes].push_back(block.data);
  }

  void Trim() {
    const std::lock_guard<std::mutex> lock(mutex_);
    FreeIdle(stats_.idle_bytes);
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
  // The smallest idle block that fits, if it wastes at most a third.
  Block FromIdle(int64_t bytes) {
    auto it = idle_.lower_bound(bytes);
    while (it != idle_.end() && it->second.empty()) it = idle_.erase(it);
    if (it == idle_.end() || it->first > bytes + bytes / 2) return {};
    const Block block = {it->second.back(), it->first};
    it->second.pop_back();
    stats_.idle_bytes -= block.bytes;
    return block;
  }

  // Batches of many shapes would leave idle blocks of every size behind: what
  // is held stays within 5/4 of the most that was ever in use.
  void FreeFor(int64_t bytes) {
    const int64_t wanted = stats_.bytes_in_use + bytes;
    FreeIdle(wanted + stats_.idle_bytes -
             std::max(most_in_use_, wanted) * 5 / 4);
  }

  // Gives idle blocks of at least `bytes` in all back to the system, the
  // largest first.
  void FreeIdle(int64_t bytes) {
    while (bytes > 0 && !idle_.empty()) {
      const auto largest = std::prev(idle_.end());
      if (largest->second.empty()) {
        idle_.erase(largest);
        continue;
      }
      std::free(largest->second.back());
      largest->second.pop_back();
      stats_.idle_bytes -= largest->first;
      bytes -= largest->first;
    }
  }

  std::mutex mutex_;
  std::map<int64_t, std::vector<float*>> idle_;  // by size
  int64_t most_in_use_ = 0;                      // since the process began
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
  const Block block = ThePool().Take(StorageBytes(count));
  return Storage(block.data, [block](float*) { ThePool().Give(block); });
}

int64_t StorageBytes(int64_t count) {
  return SizeClass(std::max<int64_t>(count, 1) * int64_t{sizeof(float)});
}

StorageStats GetStorageStats() { return ThePool().stats(); }
void ResetStoragePeak() { ThePool().ResetPeak(); }
void TrimStorage() { ThePool().Trim(); }

}  // namespace align
