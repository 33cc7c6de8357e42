#include "align/train/workspace.h"

#include <gtest/gtest.h>

namespace align::train {
namespace {

constexpr int64_t kRow = int64_t{1} << 20;  // floats

// A batch that needs as much at its peak.
void Compute(int64_t rows) {
  const Storage activations = AllocateStorage(rows * kRow);
  activations[0] = 1;
}

TEST(LargestBatchReserve, LargerBatchesTakeNothingMoreFromTheSystem) {
  TrimStorage();
  ResetStoragePeak();
  LargestBatchReserve reserve(/*largest_rows=*/5);
  const Storage moments = AllocateStorage(kRow);
  Compute(2);
  reserve.AfterBatch(2);
  const StorageStats reserved = GetStorageStats();
  EXPECT_GE(reserved.idle_bytes, StorageBytes(5 * kRow));
  Compute(5);
  reserve.AfterBatch(5);
  EXPECT_EQ(GetStorageStats().system_allocations, reserved.system_allocations);
  EXPECT_EQ(GetStorageStats().idle_bytes, reserved.idle_bytes);
}

TEST(LargestBatchReserve, NothingIsTakenWithoutNeed) {
  TrimStorage();
  ResetStoragePeak();
  LargestBatchReserve reserve(/*largest_rows=*/2);
  Compute(2);
  const StorageStats before = GetStorageStats();
  reserve.AfterBatch(0);  // no batch yet
  reserve.AfterBatch(2);
  EXPECT_EQ(GetStorageStats().idle_bytes, before.idle_bytes);
}

}  // namespace
}  // namespace align::train
