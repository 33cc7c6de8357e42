#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "align/base/precision.h"
#include "align/base/storage.h"
#include "align/dnnl/matmul.h"
#include "align/dnnl/packed_matrix.h"
#include "align/tensor/tensor.h"

namespace align {

// From now on products with this matrix multiply in `precision`, and keep its
// packed copy for as long as its values stay, where that pays: outside
// training, in bf16 or for few rows. A tensor without this call multiplies in
// f32 and keeps nothing.
void AttachPacked(const Tensor& weight, Precision precision);

// What products with `weight` multiply in.
Precision PrecisionOf(const Tensor& weight);

// Whether the threads of a team (align/base/team.h) share products of few rows
// with kept weights of this precision.
bool TeamsShareProducts(Precision precision);

// The rows [n, width] of products with weights: f32, and on demand the same in
// bf16, or packed in either. The memory must outlive it.
class ProductRows {
 public:
  ProductRows(const float* rows, int64_t n, int64_t width);
  // The same, rounded before: `rounded` holds n * width Bf16.
  ProductRows(const float* rows, Storage rounded, int64_t n, int64_t width);
  // Of a tensor [n, width], for products in `precision`. The tensor keeps what
  // was made for its next product: in bf16, and wherever it has a history.
  ProductRows(const Tensor& x, Precision precision);

  int64_t count() const { return n_; }
  int64_t width() const { return width_; }
  const float* f32() const { return rows_; }
  const Bf16* Rounded() const;
  // As the right side of a product in `precision`.
  const PackedMatrix& Packed(Precision precision) const;

 private:
  struct Copies;
  const float* rows_;
  int64_t n_;
  int64_t width_;
  std::shared_ptr<Copies> copies_;
};

// Room for `count` Bf16, and its address.
Storage AllocateBf16(int64_t count);
Bf16* AsBf16(const Storage& storage);

// c [n, b.cols] = a b, or c +=, in the precision of `weight`; `b` [width, cols]
// is a view into its values. A row's bits depend on that row of `a` alone. c is
// dense. Threads may share `weight`.
void MultiplyByWeight(const ProductRows& a, const Tensor& weight,
                      const MatrixView& b, float* c, bool accumulate = false);

// One of several products of the same rows.
struct WeightProduct {
  const Tensor& weight;
  MatrixView b;
  float* c = nullptr;
};

// MultiplyByWeight for each; products of few rows with kept weights share a
// loop (PackedMatrix::MultiplyTogether).
void MultiplyByWeights(const ProductRows& a,
                       std::span<const WeightProduct> products);

// c [a.width, b.width] += a^T b, sums over rows, in `precision`: the gradient
// of a weight.
void AddOuterProducts(const ProductRows& a, const ProductRows& b,
                      Precision precision, float* c);

}  // namespace align
