#pragma once

#include <cstdint>
#include <string>

namespace align {

// A strided view of an f32 matrix; one of the strides must be 1. The memory
// must outlive the call that gets the view.
struct MatrixView {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;
  int64_t col_stride = 1;
};

// A dense row-major [rows, cols] matrix, and the same memory seen transposed.
inline MatrixView RowMajor(const float* data, int64_t rows, int64_t cols) {
  return {data, rows, cols, cols, 1};
}
inline MatrixView Transposed(const MatrixView& m) {
  return {m.data, m.cols, m.rows, m.col_stride, m.row_stride};
}
inline MatrixView RowRange(const MatrixView& m, int64_t begin, int64_t count) {
  return {m.data + begin * m.row_stride, count, m.cols, m.row_stride,
          m.col_stride};
}

// C[M, N] = A[M, K] B[K, N], or C += when `accumulate`. C is row-major with
// `c_stride` >= N floats from row to row and overlaps neither input.
//
// A row of C has the same bits whatever M is, wherever the row stands and
// however many threads run, provided that row of A and the whole of B are the
// same (see MatmulMode). Runs on oneDNN; aborts when shapes do not fit.
void Matmul(const MatrixView& a, const MatrixView& b, float* c,
            int64_t c_stride, bool accumulate = false);

// Whether Matmul of these dimensions into a dense C packs B first, with the
// same bits: where one B serves several products, packed_matrix.h does it once.
bool WorthPacking(int64_t m, int64_t k, int64_t n);

// C = A B by a single call of oneDNN on the kernel and threads of its choice,
// without Matmul's promise: what Matmul's speed is measured against.
void MatmulInOneCall(const MatrixView& a, const MatrixView& b, float* c,
                     int64_t c_stride);

// How the promise above is kept, found once per process by comparing bits:
// kWhole, oneDNN's kernel for dense operands keeps it for every M (brgemm on
// AVX-512), and others are copied first;
// kTiles, only for row counts of 16, 48 and 64, so products are cut
// into such tiles, the last one padded with zeros (gemm:jit on AVX2);
// kTolerance, neither held, results agree to rounding only.
enum class MatmulMode { kWhole, kTiles, kTolerance };
MatmulMode GetMatmulMode();
// "oneDNN 2.6.3, rows exact by tiles": for logs and result files.
std::string DescribeMatmul();

}  // namespace align
