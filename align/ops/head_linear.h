#pragma once

#include <cstdint>

#include "align/ops/ops.h"
#include "align/tensor/tensor.h"

namespace align {

// Which part of a weight [heads * block, rank] each head multiplies with: rows
// [first, first + count) of its block, from inputs of `count` elements to
// `rank` (kInOut) or the other way round (kOutIn).
struct HeadLinearShape {
  int64_t heads = 0;
  int64_t first = 0;
  int64_t count = 0;
  WeightLayout layout = WeightLayout::kOutIn;
  bool keep_rest = false;  // what a head has behind its inputs follows outputs
};

// The first elements of every head of x [N, heads * width] times that head's
// own matrix -> [N, heads * outputs], or outputs and rest. Never recorded. A
// row's bits depend on that row of x alone.
Tensor HeadLinear(const Tensor& x, const Tensor& weight,
                  const HeadLinearShape& shape);

}  // namespace align
