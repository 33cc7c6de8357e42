#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace align {

// A 64-byte aligned block of floats. Blocks return to a process-wide pool when
// their last owner lets go, so that a steady training step allocates nothing;
// idle blocks stay within a quarter of the most that was in use. Allocation and
// release may happen on any thread.
using Storage = std::shared_ptr<float[]>;

// Room for `count` floats with undefined contents.
Storage AllocateStorage(int64_t count);

// What tensors hold now and at most so far, and idle blocks besides, bytes; and
// how often the pool had to ask the system for memory.
struct StorageStats {
  int64_t bytes_in_use = 0;
  int64_t peak_bytes = 0;
  int64_t idle_bytes = 0;
  int64_t system_allocations = 0;
};
StorageStats GetStorageStats();
// Makes the peak what is in use now.
void ResetStoragePeak();
// Gives every idle block back to the system.
void TrimStorage();

}  // namespace align
