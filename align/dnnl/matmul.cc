#include "align/dnnl/matmul.h"

#include <algorithm>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <vector>

#include "align/base/check.h"
#include "align/base/threads.h"

namespace align {
namespace {

constexpr int64_t kTileRows = 64;
// Columns are cut too, at places that depend on N alone, so that a product of
// few rows and many columns (decoding, the head) still uses every thread.
constexpr int64_t kTileCols = 256;

dnnl::engine& CpuEngine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::matmul::primitive_desc Describe(const dnnl::memory::desc& a,
                                      const dnnl::memory::desc& b,
                                      const dnnl::memory::desc& c,
                                      bool accumulate) {
  dnnl::primitive_attr attr;
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attr.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(CpuEngine(), a, b, c, attr);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attr,
                                      CpuEngine());
#endif
}

// One oneDNN call on exactly these shapes. oneDNN finds the primitive again in
// its own cache.
void Call(const MatrixView& a, const MatrixView& b, float* c, int64_t c_stride,
          bool accumulate) {
  using Desc = dnnl::memory::desc;
  constexpr auto kF32 = dnnl::memory::data_type::f32;
  try {
    const Desc a_desc({a.rows, a.cols}, kF32,
                      dnnl::memory::dims{a.row_stride, a.col_stride});
    const Desc b_desc({b.rows, b.cols}, kF32,
                      dnnl::memory::dims{b.row_stride, b.col_stride});
    const Desc c_desc({a.rows, b.cols}, kF32, dnnl::memory::dims{c_stride, 1});
    const dnnl::matmul primitive(Describe(a_desc, b_desc, c_desc, accumulate));
    thread_local dnnl::stream stream(CpuEngine());
    // oneDNN takes inputs as void*; it does not write to them.
    dnnl::memory a_memory(a_desc, CpuEngine(), const_cast<float*>(a.data));
    dnnl::memory b_memory(b_desc, CpuEngine(), const_cast<float*>(b.data));
    dnnl::memory c_memory(c_desc, CpuEngine(), c);
    primitive.execute(stream, {{DNNL_ARG_SRC, a_memory},
                               {DNNL_ARG_WEIGHTS, b_memory},
                               {DNNL_ARG_DST, c_memory}});
    stream.wait();
  } catch (const dnnl::error& error) {
    ALIGN_CHECK(false) << "[Matmul] (" << a.rows << ", " << a.cols << ") x ("
                       << b.rows << ", " << b.cols << "): oneDNN "
                       << error.what();
  }
}

// Fewer rows than a tile: through zero-padded copies of 16 or 48 rows.
void PaddedTile(const MatrixView& a, const MatrixView& b, float* c,
                int64_t c_stride, bool accumulate) {
  const int64_t rows = a.rows <= 16 ? 16 : a.rows <= 48 ? 48 : 64;
  if (rows == a.rows) return Call(a, b, c, c_stride, accumulate);
  std::vector<float> padded(rows * a.cols, 0.0f);
  for (int64_t i = 0; i < a.rows; ++i) {
    const float* row = a.data + i * a.row_stride;
    for (int64_t k = 0; k < a.cols; ++k) {
      padded[i * a.cols + k] = row[k * a.col_stride];
    }
  }
  std::vector<float> out(rows * b.cols, 0.0f);
  for (int64_t i = 0; accumulate && i < a.rows; ++i) {
    std::copy_n(c + i * c_stride, b.cols, out.data() + i * b.cols);
  }
  Call(RowMajor(padded.data(), rows, a.cols), b, out.data(), b.cols,
       accumulate);
  for (int64_t i = 0; i < a.rows; ++i) {
    std::copy_n(out.data() + i * b.cols, b.cols, c + i * c_stride);
  }
}

// C in tiles, each a single-threaded oneDNN call, so that neither M nor the
// thread count shows in a row's bits.
void Tiled(const MatrixView& a, const MatrixView& b, float* c, int64_t c_stride,
           bool accumulate) {
  // A narrow product (a weight gradient) would otherwise be one tile.
  const int64_t tile = a.rows < 2 * kTileRows && a.cols >= 512 ? 16 : kTileRows;
  const int64_t row_tiles = (a.rows + tile - 1) / tile;
  const int64_t col_tiles = (b.cols + kTileCols - 1) / kTileCols;
  ParallelFor(row_tiles * col_tiles, [&](int64_t t) {
    const SerialScope serial;
    const int64_t i = t / col_tiles * tile;
    const int64_t j = t % col_tiles * kTileCols;
    const MatrixView columns{b.data + j * b.col_stride, b.rows,
                             std::min(kTileCols, b.cols - j), b.row_stride,
                             b.col_stride};
    PaddedTile(RowRange(a, i, std::min(tile, a.rows - i)), columns,
               c + i * c_stride + j, c_stride, accumulate);
  });
}

// Values with full mantissas, so that a change of summation order shows.
std::vector<float> Probe(int64_t count, uint32_t seed) {
  std::vector<float> values(count);
  uint32_t state = seed;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
  }
  return values;
}

struct ProbeShape {
  int64_t k, n;
  bool b_transposed;
};
constexpr ProbeShape kProbes[] = {{64, 172, true},   {172, 64, true},
                                  {512, 128, true},  {300, 77, true},
                                  {512, 128, false}, {64, 512, true}};

// Whether products of `rows` rows give each row the bits that a product of one
// 64-row tile gives it, at every position.
bool RowsAgree(int64_t rows, bool serial) {
  for (const ProbeShape& p : kProbes) {
    const std::vector<float> b = Probe(p.k * p.n, 7);
    const MatrixView bv = p.b_transposed
                              ? Transposed(RowMajor(b.data(), p.n, p.k))
                              : RowMajor(b.data(), p.k, p.n);
    const std::vector<float> row = Probe(p.k, 11);
    std::vector<float> a = Probe(std::max(rows, kTileRows) * p.k, 13);
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
  for (int64_t rows : {1, 2, 3, 7, 8, 15, 17, 33, 63, 100, 127, 129, 300}) {
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
  if (GetMatmulMode() == MatmulMode::kWhole && a.col_stride == 1) {
    Call(a, b, c, c_stride, accumulate);
  } else {
    Tiled(a, b, c, c_stride, accumulate);
  }
}

void MatmulInOneCall(const MatrixView& a, const MatrixView& b, float* c,
                     int64_t c_stride) {
  ALIGN_CHECK(a.cols == b.rows && c_stride >= b.cols)
      << "[MatmulInOneCall] shapes do not fit";
  Call(a, b, c, c_stride, /*accumulate=*/false);
}

}  // namespace align
