#pragma once

// Private to align/dnnl: products of few rows with a matrix that oneDNN packed.
// With very few rows such a product only reads the matrix, and this kernel
// reads it as fast as memory gives it; with more it reads ahead while it
// multiplies, and shares even a narrow matrix evenly among threads. oneDNN's
// does neither.

#include <cstdint>
#include <span>
#include <vector>

#include "align/base/precision.h"
#include "align/base/team.h"

namespace align {

// B [k, n] in blocks of 64 columns, one block after the other: for f32 rows of
// 64 values (oneDNN's BA16a64b), for bf16 pairs of rows, 64 pairs each
// (BA16a64b2a).
struct ColumnBlocks {
  const void* data = nullptr;
  int64_t k = 0, n = 0;
  Precision precision = Precision::kF32;

  static constexpr int64_t kCols = 64;
  int64_t count() const { return (n + kCols - 1) / kCols; }
  // Of one block; k is filled up to whole blocks of rows.
  int64_t block_bytes() const {
    const int64_t rows = precision == Precision::kBf16 ? 32 : 16;
    const int64_t size = precision == Precision::kBf16 ? 2 : 4;
    return (k + rows - 1) / rows * rows * kCols * size;
  }
};

// Rows at once that the kernel takes; 0 where this program has none for the
// precision.
int64_t MaxFewRows(Precision precision);

// A right-hand side, how its sums are cut and where the product goes.
struct FewRowsProduct {
  ColumnBlocks b;
  int64_t k_block = 0;
  float* c = nullptr;
};

// c [m, n] = a [m, k] b for each product, all of one k and precision, which is
// a's too; m <= MaxFewRows. Threads share the columns of all in one loop. A
// value is a chain of FMAs (or of bf16 pair products) over each `k_block` rows
// of b, and the chains' ends are added in order: what oneDNN does, for the
// right k_block.
void MultiplyFewRows(const void* a, int64_t m,
                     std::span<const FewRowsProduct> products);

// Appends what the `part`-th of the `parts` that MultiplyFewRows cuts the
// products with `b` into reads of them, whole blocks alone: a half at either
// end of a stretch is left out.
void AppendFewRowsPart(std::span<const ColumnBlocks> b, int64_t parts,
                       int64_t part, std::vector<MemoryStretch>& stretches);

}  // namespace align
