#pragma once

#include <cstdint>

#include "align/base/storage.h"

namespace align::train {

// Takes memory for the largest batch from the system as soon as the first has
// shown what a row needs. Later steps then never stop for page faults, and a
// machine that is too small says so at the start.
class LargestBatchReserve {
 public:
  // `largest_rows`: of the largest batch to come. Made before the first batch.
  explicit LargestBatchReserve(int64_t largest_rows)
      : largest_rows_(largest_rows) {}

  // To be called when a batch of `rows` rows is done; the first call counts.
  void AfterBatch(int64_t rows);

 private:
  int64_t largest_rows_;
  int64_t peak_before_ = GetStorageStats().peak_bytes;
  bool done_ = false;
};

}  // namespace align::train
