#include "align/train/workspace.h"

namespace align::train {

void LargestBatchReserve::AfterBatch(int64_t rows) {
  if (done_ || rows <= 0) return;
  done_ = true;
  const StorageStats stats = GetStorageStats();
  // An older peak says nothing of this batch.
  if (stats.peak_bytes <= peak_before_) return;
  // What stays after the batch, moments and kept copies, stood at its peak too.
  const double activations =
      static_cast<double>(stats.peak_bytes - stats.bytes_in_use);
  const double needed = activations * static_cast<double>(largest_rows_) /
                        static_cast<double>(rows);
  ReserveStorage(static_cast<int64_t>(needed) - stats.idle_bytes);
}

}  // namespace align::train
