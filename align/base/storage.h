#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace align {

// A 64-byte aligned block of floats. Blocks come out of one range of the
// process and return to it when their last owner lets go, so that a steady
// training step asks the system for nothing, whatever the shapes of its
// batches. Allocation and release may happen on any thread. Throws
// std::bad_alloc when the range, four times the machine's memory, is used up.
using Storage = std::shared_ptr<float[]>;

// Room for `count` floats with undefined contents.
Storage AllocateStorage(int64_t count);

// The bytes that AllocateStorage(count) takes: whole lines of 64. For
// predictions of memory.
int64_t StorageBytes(int64_t count);

// What tensors hold now and at most so far, and idle memory besides, bytes; and
// how often the range had to grow.
struct StorageStats {
  int64_t bytes_in_use = 0;
  int64_t peak_bytes = 0;
  int64_t idle_bytes = 0;
  int64_t system_allocations = 0;
};
StorageStats GetStorageStats();
// Makes the peak what is in use now.
void ResetStoragePeak();
// Takes idle memory of this many bytes from the system and touches it, so that
// blocks cut from it later cost no page faults.
void ReserveStorage(int64_t bytes);
// Gives idle blocks back to the system, but for those of a few kilobytes.
void TrimStorage();

}  // namespace align
