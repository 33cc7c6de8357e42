#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "align/base/precision.h"
#include "align/base/storage.h"
#include "align/dnnl/matmul.h"

namespace align {

struct ColumnBlocks;
struct ProbeShape;
struct PackedProduct;

// The right-hand side B [K, N] of products, copied into the layout that
// oneDNN's kernel reads fastest and, for kBf16, rounded to nearest even. Making
// one reads and writes B once: worth it for a product of many rows, or for many
// products. Immutable; any number of threads may multiply by it.
class PackedMatrix {
 public:
  PackedMatrix(const MatrixView& b, Precision precision);
  // Of a dense row-major bf16 matrix [k, n].
  PackedMatrix(const Bf16* b, int64_t k, int64_t n);
  PackedMatrix(PackedMatrix&&) noexcept;
  PackedMatrix& operator=(PackedMatrix&&) noexcept;
  ~PackedMatrix();

  int64_t rows() const { return k_; }
  int64_t cols() const { return n_; }
  int64_t bytes() const;

  // C [M, N] = A [M, K] B, or C += when `accumulate`, summed in f32; A and C
  // dense row-major, A of this matrix' precision. Where PackedRowsExact, a row
  // of C has the same bits whatever M is and however many threads run, and for
  // kF32 those of Matmul on the same operands. Few rows go through a kernel of
  // ours once it has been seen to give this matrix' products the same bits.
  // Threads of a team (align/base/team.h) share the columns.
  void Multiply(const float* a, int64_t m, float* c,
                bool accumulate = false) const;
  void Multiply(const Bf16* a, int64_t m, float* c,
                bool accumulate = false) const;

  // Multiply by each of `products`, whose matrices have the same rows and
  // precision, which is A's [m, K] too. Up to three products of few rows share
  // one loop: where a loop begins and ends threads wait for each other.
  static void MultiplyTogether(const void* a, int64_t m,
                               std::span<const PackedProduct> products);

  // C = A B by a single call of oneDNN for A of this matrix' precision, on the
  // kernel and threads of its choice: what Multiply's speed is measured
  // against.
  void MultiplyInOneCall(const void* a, int64_t m, float* c) const;

 private:
  struct Layout;
  PackedMatrix(int64_t k, int64_t n, Precision precision);
  void Run(const void* a, int64_t m, float* c, bool accumulate) const;
  void RunWhole(const void* a, int64_t m, float* c, bool accumulate) const;
  void RunInParts(const void* a, int64_t m, float* c) const;
  int64_t FindFewRowsBlock() const;
  int64_t FewRowsBlock() const;
  bool TakesFewRows(int64_t m) const;
  ColumnBlocks Blocks() const;

  // Of oneDNN alone: see PackedRowsExact.
  friend bool PackedRowsExact(Precision precision);
  static bool FindExact(Precision precision);
  static bool RowsAgree(Precision precision, const ProbeShape& shape,
                        int64_t rows);

  int64_t k_;
  int64_t n_;
  Precision precision_;
  std::unique_ptr<Layout> layout_;
  Storage data_;
};

// A right-hand side and where the product with it goes, [M, N].
struct PackedProduct {
  const PackedMatrix* b = nullptr;
  float* c = nullptr;
};

// Whether oneDNN keeps the promise of Multiply on this machine: found once per
// process by comparing bits.
bool PackedRowsExact(Precision precision);

// Whether threads of a team share the products of few rows.
bool PackedTeamsShare(Precision precision);

}  // namespace align
