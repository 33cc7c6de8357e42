#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "align/ops/ops.h"
#include "align/tensor/tensor.h"

namespace align {

// Positions of a tile of stored keys.
inline constexpr int64_t kTilePositions = 16;

// `rows` consecutive positions of stored keys and values, the first a multiple
// of 16: keys by tiles [tile, K*Dh, 16], as products with queries read them,
// and rows of K*Dv values, in bf16 one of both positions 2n and 2n + 1, whose
// values share a float's place.
// Or, where `v` is null, rows of Dh floats that are both, of the one key/value
// head that there is then, from any position on.
struct KeySpan {
  float* k = nullptr;
  float* v = nullptr;
  int64_t rows = 0;
};

// New rows [begin, begin + rows) of one sequence whose positions are `spans` in
// order; the last of them ends with room for the new ones.
struct CachedQueries {
  int64_t begin = 0;
  int64_t rows = 0;
  std::vector<KeySpan> spans;
};

// Stores keys and values of new rows, k [N, K*Dh] and v [N, K*Dv] (not read
// where spans have none), and gives the attention of their q [N, H*Dh] over all
// that is stored -> [N, H*Dv]; never recorded. Bits equal Attention's on the
// same tokens; `asking` is what it is there, of these N rows.
Tensor CachedAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                       const std::vector<CachedQueries>& sequences,
                       const AttentionShape& shape,
                       std::span<const int32_t> asking = {});

}  // namespace align
