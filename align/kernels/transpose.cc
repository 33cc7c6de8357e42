#include "align/kernels/transpose.h"

#include <algorithm>

#include "align/base/threads.h"
#include "align/kernels/transpose8.h"

namespace align::kernels {
namespace {

// Rows that are turned together, so that whole cache lines of `out` are
// written.
constexpr int64_t kRowBlock = 32;
// Columns of one unit of work.
constexpr int64_t kColBlock = 128;

template <class T>
void TransposePart(const T* m, int64_t stride, int64_t rows, int64_t cols,
                   T* out, int64_t out_stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      out[j * out_stride + i] = m[i * stride + j];
    }
  }
}

template <class Vector, class T>
void TransposeBlocks(const T* m, int64_t rows, int64_t cols, T* out) {
  const int64_t row_blocks = (rows + kRowBlock - 1) / kRowBlock;
  const int64_t col_blocks = (cols + kColBlock - 1) / kColBlock;
  ParallelFor(row_blocks * col_blocks, [&](int64_t block) {
    const int64_t i0 = block / col_blocks * kRowBlock;
    const int64_t j0 = block % col_blocks * kColBlock;
    const int64_t i1 = std::min(rows, i0 + kRowBlock);
    const int64_t j1 = std::min(cols, j0 + kColBlock);
    for (int64_t j = j0; j < j1; j += 8) {
      for (int64_t i = i0; i < i1; i += 8) {
        const T* from = m + i * cols + j;
        T* to = out + j * rows + i;
        if (i1 - i >= 8 && j1 - j >= 8) {
          Transpose8x8<Vector>([&](int64_t k) { return from + k * cols; }, to,
                               rows);
        } else {
          TransposePart(from, cols, std::min<int64_t>(8, i1 - i),
                        std::min<int64_t>(8, j1 - j), to, rows);
        }
      }
    }
  });
}

}  // namespace

void Transpose(const float* m, int64_t rows, int64_t cols, float* out) {
  using Float8 = float __attribute__((vector_size(32)));
  TransposeBlocks<Float8>(m, rows, cols, out);
}

void Transpose(const Bf16* m, int64_t rows, int64_t cols, Bf16* out) {
  using Short8 = uint16_t __attribute__((vector_size(16)));
  TransposeBlocks<Short8>(m, rows, cols, out);
}

}  // namespace align::kernels
