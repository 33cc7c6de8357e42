#pragma once

#include <cstdint>

#include "align/base/precision.h"
#include "align/dnnl/matmul.h"
#include "align/tensor/tensor.h"

namespace align {

// From now on products with this matrix multiply in `precision`, and keep its
// packed copy for as long as its values stay, where that pays: outside
// training, in bf16 or for few rows. A tensor without this call multiplies in
// f32 and keeps nothing.
void AttachPacked(const Tensor& weight, Precision precision);

// What products with `weight` multiply in.
Precision PrecisionOf(const Tensor& weight);

// The rows [n, width] on the left of products: f32, and on demand the same in
// bf16. The memory must outlive it.
class LeftRows {
 public:
  LeftRows(const float* rows, int64_t n, int64_t width)
      : rows_(rows), n_(n), width_(width) {}
  // Of a tensor [n, width], for products in `precision`: the tensor keeps the
  // rounded copy for the next one.
  LeftRows(const Tensor& x, Precision precision);

  int64_t count() const { return n_; }
  int64_t width() const { return width_; }
  const float* f32() const { return rows_; }
  const Bf16* Rounded() const;

 private:
  const float* rows_;
  int64_t n_;
  int64_t width_;
  mutable Storage rounded_;
};

// c [n, b.cols] = a b, or c +=, in the precision of `weight`; `b` [width, cols]
// is a view into its values. A row's bits depend on that row of `a` alone. c is
// dense. Threads may share `weight`.
void MultiplyByWeight(const LeftRows& a, const Tensor& weight,
                      const MatrixView& b, float* c, bool accumulate = false);

// c [a.width, b.width] += a^T b, sums over rows, in `precision`: the gradient
// of a weight.
void AddOuterProducts(const LeftRows& a, const LeftRows& b, Precision precision,
                      float* c);

}  // namespace align
