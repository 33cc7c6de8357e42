#include "align/dnnl/matmul.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <vector>

#include "align/base/check.h"
#include "align/base/storage.h"
#include "align/base/threads.h"
#include "align/dnnl/onednn.h"
#include "align/dnnl/packed_matrix.h"
#include "align/dnnl/probe.h"
#include "align/dnnl/team_rows.h"

namespace align {
namespace {

constexpr int64_t kTileRows = 64;
// Columns are cut too, at places that depend on N alone, so that a product of
// few rows and many columns (decoding, the head) still uses every thread.
constexpr int64_t kTileCols = 256;

// A product of fixed shapes and strides, made ready once and run on any number
// of operands, from any thread. Made under SerialScope it runs on one thread.
class Product {
 public:
  // Of `rows` rows of the shape of `a`, all of `b`.
  Product(const MatrixView& a, int64_t rows, const MatrixView& b,
          int64_t c_stride, bool accumulate)
      : a_desc_(onednn::Strided(
            {nullptr, rows, a.cols, a.row_stride, a.col_stride})),
        b_desc_(onednn::Strided(b)),
        c_desc_(onednn::Strided({nullptr, rows, b.cols, c_stride, 1})),
        primitive_(
            onednn::DescribeProduct(a_desc_, b_desc_, c_desc_, accumulate)) {}

  void Run(const float* a, const float* b, float* c) const {
    onednn::RunProduct(primitive_, a_desc_, a, b_desc_, b, c_desc_, c);
  }

 private:
  dnnl::memory::desc a_desc_, b_desc_, c_desc_;
  dnnl::matmul primitive_;
};

// One oneDNN call on exactly these shapes.
void Call(const MatrixView& a, const MatrixView& b, float* c, int64_t c_stride,
          bool accumulate) {
  Product(a, a.rows, b, c_stride, accumulate).Run(a.data, b.data, c);
}

// The row counts whose products are exact (see GetMatmulMode).
int64_t PaddedRows(int64_t rows) {
  return rows <= 16 ? 16 : rows <= 48 ? 48 : 64;
}

// All tiles of one product that have the same shape: `rows` x `b.cols`.
class Tiles {
 public:
  Tiles(const MatrixView& a, int64_t rows, const MatrixView& b,
        int64_t c_stride, bool accumulate)
      : a_(a),
        rows_(rows),
        padded_(PaddedRows(rows)),
        cols_(b.cols),
        c_stride_(c_stride),
        accumulate_(accumulate),
        product_(padded_ == rows ? a : RowMajor(nullptr, padded_, a.cols),
                 padded_, b, padded_ == rows ? c_stride : b.cols, accumulate) {}

  // The tile whose operands and result begin here.
  void Run(const float* a, const float* b, float* c) const {
    if (padded_ == rows_) return product_.Run(a, b, c);
    // Through zero-padded copies.
    std::vector<float> rows(padded_ * a_.cols, 0.0f);
    for (int64_t i = 0; i < rows_; ++i) {
      const float* row = a + i * a_.row_stride;
      for (int64_t k = 0; k < a_.cols; ++k) {
        rows[i * a_.cols + k] = row[k * a_.col_stride];
      }
    }
    std::vector<float> out(padded_ * cols_, 0.0f);
    for (int64_t i = 0; accumulate_ && i < rows_; ++i) {
      std::copy_n(c + i * c_stride_, cols_, out.data() + i * cols_);
    }
    product_.Run(rows.data(), b, out.data());
    for (int64_t i = 0; i < rows_; ++i) {
      std::copy_n(out.data() + i * cols_, cols_, c + i * c_stride_);
    }
  }

 private:
  MatrixView a_;
  int64_t rows_, padded_, cols_, c_stride_;
  bool accumulate_;
  Product product_;
};

// C in tiles, each a single-threaded oneDNN call, so that neither M nor the
// thread count shows in a row's bits. Tiles of one shape share a primitive:
// making it anew for each costs a fifth of the time of small products.
void Tiled(const MatrixView& a, const MatrixView& b, float* c, int64_t c_stride,
           bool accumulate) {
  // A narrow product (a weight gradient) would otherwise be one tile.
  const int64_t tile = a.rows < 2 * kTileRows && a.cols >= 512 ? 16 : kTileRows;
  const int64_t row_tiles = (a.rows + tile - 1) / tile;
  const int64_t col_tiles = (b.cols + kTileCols - 1) / kTileCols;
  // The rows and columns of the tiles at the end, if those are cut short.
  const int64_t short_rows = a.rows % tile, short_cols = b.cols % kTileCols;
  std::optional<Tiles> shapes[2][2];  // [short rows][short columns]
  {
    const SerialScope serial;
    for (const int64_t rows : {tile, short_rows}) {
      for (const int64_t cols : {kTileCols, short_cols}) {
        if (rows == 0 || rows > a.rows || cols == 0 || cols > b.cols) continue;
        const MatrixView columns{b.data, b.rows, cols, b.row_stride,
                                 b.col_stride};
        shapes[rows < tile][cols < kTileCols].emplace(a, rows, columns,
                                                      c_stride, accumulate);
      }
    }
  }
  ParallelFor(row_tiles * col_tiles, [&](int64_t t) {
    const SerialScope serial;
    const int64_t i = t / col_tiles * tile, j = t % col_tiles * kTileCols;
    shapes[i + tile > a.rows][j + kTileCols > b.cols]->Run(
        a.data + i * a.row_stride, b.data + j * b.col_stride,
        c + i * c_stride + j);
  });
}

bool IsDense(const MatrixView& m) {
  return m.col_stride == 1 && m.row_stride == m.cols;
}

// A row-major copy of `m`.
Storage DenseCopy(const MatrixView& m) {
  Storage copy = AllocateStorage(m.rows * m.cols);
  onednn::RunReorder(
      onednn::Strided(m), m.data,
      onednn::Dense(m.rows, m.cols, dnnl::memory::data_type::f32), copy.get());
  return copy;
}

// Products of this many rows and multiply-adds gain more from a packed B than
// packing costs.
constexpr int64_t kPackRows = 96;
constexpr int64_t kPackWork = int64_t{1} << 23;

// C, dense, in one call of oneDNN, whose kernel keeps rows exact for dense
// operands alone: for any other stride it falls back to one that does not. So
// others go through dense copies.
void WholeDense(MatrixView a, MatrixView b, float* c, bool accumulate) {
  Storage a_copy, b_copy;
  if (!IsDense(a)) {
    a_copy = DenseCopy(a);
    a = RowMajor(a_copy.get(), a.rows, a.cols);
  }
  if (WorthPacking(a.rows, b.rows, b.cols)) {
    return PackedMatrix(b, Precision::kF32)
        .Multiply(a.data, a.rows, c, accumulate);
  }
  if (!IsDense(b) && !IsDense(Transposed(b))) {
    b_copy = DenseCopy(b);
    b = RowMajor(b_copy.get(), b.rows, b.cols);
  }
  ForTeamRowParts(a.rows, 4 * b.rows * b.cols,
                  [&](int64_t begin, int64_t rows) {
                    Call(RowRange(a, begin, rows), b, c + begin * b.cols,
                         b.cols, accumulate);
                  });
}

void Whole(const MatrixView& a, const MatrixView& b, float* c, int64_t c_stride,
           bool accumulate) {
  const int64_t n = b.cols;
  if (c_stride == n) return WholeDense(a, b, c, accumulate);
  // oneDNN adds to C's own values as it sums, so they must be there first.
  const Storage dense = accumulate ? DenseCopy({c, a.rows, n, c_stride, 1})
                                   : AllocateStorage(a.rows * n);
  WholeDense(a, b, dense.get(), accumulate);
  ParallelFor(a.rows, [&](int64_t i) {
    std::copy_n(dense.get() + i * n, n, c + i * c_stride);
  });
}

// Whether products of `rows` rows give each row the bits that a product of one
// 64-row tile gives it, at every position.
bool RowsAgree(int64_t rows, bool serial) {
  for (const ProbeShape& p : kProbeShapes) {
    const std::vector<float> b = ProbeValues(p.k * p.n, 7);
    const MatrixView bv = p.View(b.data());
    const std::vector<float> row = ProbeValues(p.k, 11);
    std::vector<float> a = ProbeValues(std::max(rows, kTileRows) * p.k, 13);
    std::copy(row.begin(), row.end(), a.begin());
    std::vector<float> expected(kTileRows * p.n);
    {
      const SerialScope one_thread;
      Call(RowMajor(a.data(), kTileRows, p.k), bv, expected.data(), p.n, false);
    }
    for (int64_t i = 0; i < rows; ++i) {
      std::copy(row.begin(), row.end(), a.begin() + i * p.k);
    }
    std::vector<float> c(rows * p.n);
    std::optional<SerialScope> one_thread;
    if (serial) one_thread.emplace();
    Call(RowMajor(a.data(), rows, p.k), bv, c.data(), p.n, false);
    for (int64_t i = 0; i < rows; ++i) {
      if (std::memcmp(c.data() + i * p.n, expected.data(),
                      p.n * sizeof(float)) != 0) {
        return false;
      }
    }
  }
  return true;
}

MatmulMode FindMode() {
  bool whole = true;
  for (int64_t rows : kProbeRows) {
    whole = whole && RowsAgree(rows, /*serial=*/false);
  }
  if (whole) return MatmulMode::kWhole;
  bool tiles = true;
  for (int64_t rows : {16, 48, 64}) {
    tiles = tiles && RowsAgree(rows, /*serial=*/true);
  }
  return tiles ? MatmulMode::kTiles : MatmulMode::kTolerance;
}

}  // namespace

MatmulMode GetMatmulMode() {
  static const MatmulMode mode = FindMode();
  return mode;
}

std::string DescribeMatmul() {
  const dnnl_version_t* version = dnnl_version();
  std::string text = "oneDNN " + std::to_string(version->major) + "." +
                     std::to_string(version->minor) + "." +
                     std::to_string(version->patch);
  switch (GetMatmulMode()) {
    case MatmulMode::kWhole:
      return text + ", rows exact";
    case MatmulMode::kTiles:
      return text + ", rows exact by tiles";
    case MatmulMode::kTolerance:
      return text + ", rows equal to 1e-4 only";
  }
  return text;
}

bool WorthPacking(int64_t m, int64_t k, int64_t n) {
  // PackedRowsExact in f32 asks for MatmulMode::kWhole.
  return m >= kPackRows && m * k * n >= kPackWork &&
         PackedRowsExact(Precision::kF32);
}

void Matmul(const MatrixView& a, const MatrixView& b, float* c,
            int64_t c_stride, bool accumulate) {
  ALIGN_CHECK(a.cols == b.rows && c_stride >= b.cols)
      << "[Matmul] (" << a.rows << ", " << a.cols << ") x (" << b.rows << ", "
      << b.cols << ") into rows of " << c_stride;
  if (a.rows == 0 || b.cols == 0) return;
  if (a.cols == 0) {
    for (int64_t i = 0; !accumulate && i < a.rows; ++i) {
      std::fill_n(c + i * c_stride, b.cols, 0.0f);
    }
    return;
  }
  try {
    if (GetMatmulMode() == MatmulMode::kWhole) {
      Whole(a, b, c, c_stride, accumulate);
    } else {
      Tiled(a, b, c, c_stride, accumulate);
    }
  } catch (const dnnl::error& error) {
    ALIGN_CHECK(false) << "[Matmul] (" << a.rows << ", " << a.cols << ") x ("
                       << b.rows << ", " << b.cols << "): oneDNN "
                       << error.what();
  }
}

void MatmulInOneCall(const MatrixView& a, const MatrixView& b, float* c,
                     int64_t c_stride) {
  ALIGN_CHECK(a.cols == b.rows && c_stride >= b.cols)
      << "[MatmulInOneCall] shapes do not fit";
  Call(a, b, c, c_stride, /*accumulate=*/false);
}

}  // namespace align
