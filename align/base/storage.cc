#include "align/base/storage.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <utility>
#include <vector>

namespace align {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kSmallPage = int64_t{1} << 12;

// Linux backs a range of this size with one page if it is asked to: a step that
// touches gigabytes otherwise spends a tenth of its time on faults.
constexpr int64_t kHugePage = int64_t{1} << 21;

// Up to this size blocks are small: a decoded token takes and gives hundreds of
// them, and to find neighbours for them takes longer than to fill them. They
// are cut from slabs of their own and kept by size.
constexpr int64_t kSmallBytes = int64_t{1} << 13;
constexpr int64_t kSlabBytes = int64_t{1} << 18;

int64_t RoundUp(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Few sizes, so that few blocks wait for theirs to be asked for again.
int64_t SmallSize(int64_t bytes) {
  constexpr int64_t kFine = 1024, kStep = 512;
  return bytes <= kFine ? bytes : RoundUp(bytes, kStep);
}

// Address space for all tensors of a process, four times the machine's memory
// if that can be had. Nothing is backed by memory before it is touched.
struct Reservation {
  char* begin = nullptr;
  int64_t bytes = 0;
};

Reservation Reserve() {
  const int64_t memory =
      int64_t{sysconf(_SC_PHYS_PAGES)} * int64_t{sysconf(_SC_PAGESIZE)};
  for (int64_t bytes = RoundUp(4 * memory, kHugePage); bytes > kHugePage;
       bytes = RoundUp(bytes / 2, kHugePage)) {
    void* data = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) continue;
    const auto address = reinterpret_cast<uintptr_t>(data);
    char* begin =
        static_cast<char*>(data) + (-address & (uintptr_t{kHugePage} - 1));
    // Advice: a refusal costs speed alone.
    madvise(begin, bytes, MADV_HUGEPAGE);
    return {begin, bytes};
  }
  return {};
}

// Blocks cut out of one range, the smallest that fits first, and joined with
// their neighbours when they come back: batches of many shapes share the same
// memory, and the range grows only as far as they need at once.
class Pool {
 public:
  char* Take(int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    char* const block =
        bytes <= kSmallBytes ? FromSlab(SmallSize(bytes)) : FromRange(bytes);
    stats_.bytes_in_use += bytes;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.bytes_in_use);
    return block;
  }

  void Give(char* block, int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    stats_.bytes_in_use -= bytes;
    if (bytes <= kSmallBytes) {
      stats_.idle_bytes += SmallSize(bytes);
      small_[SmallSize(bytes) / kAlignment].push_back(block);
      return;
    }
    stats_.idle_bytes += bytes;
    const auto next = by_address_.lower_bound(block);
    if (next != by_address_.end() && next->first == block + bytes) {
      bytes += next->second;
      Forget(next);
    }
    const auto after = by_address_.lower_bound(block);
    if (after != by_address_.begin()) {
      const auto before = std::prev(after);
      if (before->first + before->second == block) {
        block = before->first;
        bytes += before->second;
        Forget(before);
      }
    }
    Remember(block, bytes);
  }

  void Extend(int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    bytes = RoundUp(bytes, kHugePage);
    // FromTop starts at an idle block that touches the top.
    const int64_t touched = IdleAtTop();
    char* const block = FromTop(touched + bytes);
    // Also where a huge page could not be had.
    for (int64_t i = touched; i < touched + bytes; i += kSmallPage) {
      block[i] = 0;
    }
    stats_.idle_bytes += touched + bytes;
    Remember(block, touched + bytes);
  }

  void Trim() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [block, bytes] : by_address_) {
      char* first = range_.begin + RoundUp(block - range_.begin, kHugePage);
      const int64_t whole = (block + bytes - first) / kHugePage * kHugePage;
      if (whole > 0) madvise(first, whole, MADV_DONTNEED);
    }
    const int64_t idle = IdleAtTop();
    if (idle == 0) return;
    top_ -= idle;
    stats_.idle_bytes -= idle;
    Forget(std::prev(by_address_.end()));
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
  using ByAddress = std::map<char*, int64_t>;

  void Remember(char* block, int64_t bytes) {
    by_address_.emplace(block, bytes);
    by_size_.emplace(bytes, block);
  }
  void Forget(ByAddress::iterator it) {
    by_size_.erase({it->second, it->first});
    by_address_.erase(it);
  }

  char* FromSlab(int64_t size) {
    std::vector<char*>& idle = small_[size / kAlignment];
    if (idle.empty()) {
      if (slab_bytes_ < size) {
        slab_ = FromRange(kSlabBytes);
        slab_bytes_ = kSlabBytes;
        stats_.idle_bytes += kSlabBytes;
      }
      idle.push_back(slab_);
      slab_ += size;
      slab_bytes_ -= size;
    }
    char* const block = idle.back();
    idle.pop_back();
    stats_.idle_bytes -= size;
    return block;
  }

  char* FromRange(int64_t bytes) {
    char* const block = FromIdle(bytes);
    return block != nullptr ? block : FromTop(bytes);
  }

  char* FromIdle(int64_t bytes) {
    const auto found = by_size_.lower_bound({bytes, nullptr});
    if (found == by_size_.end()) return nullptr;
    const auto [size, block] = *found;
    Forget(by_address_.find(block));
    if (size > bytes) Remember(block + bytes, size - bytes);
    stats_.idle_bytes -= bytes;
    return block;
  }

  // Bytes of an idle block that ends where the range does.
  int64_t IdleAtTop() const {
    if (by_address_.empty()) return 0;
    const auto last = std::prev(by_address_.end());
    return last->first + last->second == range_.begin + top_ ? last->second : 0;
  }

  // Moves the top of the range up, over an idle block that touches it.
  char* FromTop(int64_t bytes) {
    if (range_.begin == nullptr) range_ = Reserve();
    const int64_t start = top_ - IdleAtTop();
    if (bytes > range_.bytes - start) throw std::bad_alloc();
    if (start < top_) {
      stats_.idle_bytes -= top_ - start;
      Forget(std::prev(by_address_.end()));
    }
    ++stats_.system_allocations;
    top_ = start + bytes;
    return range_.begin + start;
  }

  std::mutex mutex_;
  Reservation range_;
  int64_t top_ = 0;       // what was given out at some time, bytes
  ByAddress by_address_;  // idle blocks that are not small
  std::set<std::pair<int64_t, char*>> by_size_;  // the same
  // Idle small blocks by size in lines, and what is left of the last slab.
  std::array<std::vector<char*>, kSmallBytes / kAlignment + 1> small_;
  char* slab_ = nullptr;
  int64_t slab_bytes_ = 0;
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
  const int64_t bytes = StorageBytes(count);
  char* const block = ThePool().Take(bytes);
  return Storage(reinterpret_cast<float*>(block),
                 [block, bytes](float*) { ThePool().Give(block, bytes); });
}

int64_t StorageBytes(int64_t count) {
  return RoundUp(std::max<int64_t>(count, 1) * int64_t{sizeof(float)},
                 kAlignment);
}

StorageStats GetStorageStats() { return ThePool().stats(); }
void ResetStoragePeak() { ThePool().ResetPeak(); }
void ReserveStorage(int64_t bytes) {
  if (bytes > 0) ThePool().Extend(bytes);
}
void TrimStorage() { ThePool().Trim(); }

}  // namespace align
