#pragma once

#include <cstdint>
#include <vector>

#include "align/ops/ops.h"
#include "align/tensor/tensor.h"

namespace align {

// Consecutive positions of stored keys and values, rows of K*Dh and K*Dv
// floats.
struct KeySpan {
  const float* k = nullptr;
  const float* v = nullptr;
  int64_t rows = 0;
};

// New query rows [begin, begin + rows) of one sequence whose keys, the new ones
// last, are `spans` in position order.
struct CachedQueries {
  int64_t begin = 0;
  int64_t rows = 0;
  std::vector<KeySpan> spans;
};

// Attention of new rows q [N, H*Dh] over a key/value cache -> [N, H*Dv]; never
// recorded. Bits equal Attention's on the same tokens.
Tensor CachedAttention(const Tensor& q,
                       const std::vector<CachedQueries>& sequences,
                       const AttentionShape& shape);

}  // namespace align
