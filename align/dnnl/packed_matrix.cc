#include "align/dnnl/packed_matrix.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "align/base/check.h"
#include "align/base/team.h"
#include "align/base/threads.h"
#include "align/dnnl/few_rows.h"
#include "align/dnnl/onednn.h"
#include "align/dnnl/panels.h"
#include "align/dnnl/probe.h"
#include "align/dnnl/team_rows.h"

namespace align {
namespace {

// oneDNN's choice of a layout depends on the rows of the product; one choice
// serves all.
constexpr int64_t kLayoutRows = 512;

dnnl::memory::desc ChooseLayout(int64_t k, int64_t n, Precision precision) {
  const auto type = onednn::TypeOf(precision);
  const dnnl::memory::desc any({k, n}, type, dnnl::memory::format_tag::any);
  return onednn::DescribeProduct(
             onednn::Dense(kLayoutRows, k, type), any,
             onednn::Dense(kLayoutRows, n, dnnl::memory::data_type::f32),
             /*accumulate=*/false)
      .weights_desc();
}

// A layout that few_rows.h reads.
dnnl::memory::desc InColumnBlocks(int64_t k, int64_t n, Precision precision) {
  using Tag = dnnl::memory::format_tag;
  return dnnl::memory::desc(
      {k, n}, onednn::TypeOf(precision),
      precision == Precision::kBf16 ? Tag::BA16a64b2a : Tag::BA16a64b);
}

// Any bf16 values do for a comparison.
std::vector<Bf16> Truncated(const std::vector<float>& values) {
  std::vector<Bf16> out;
  for (const float v : values) {
    out.push_back({static_cast<uint16_t>(std::bit_cast<uint32_t>(v) >> 16)});
  }
  return out;
}

template <class T>
void FillPanels(const MatrixView& b, T* panels) {
  if (b.col_stride == 1) {
    onednn::PackRows(b.data, b.row_stride, b.rows, b.cols, panels);
  } else {
    onednn::PackColumns(b.data, b.col_stride, b.rows, b.cols, panels);
  }
}

// Rows for each thread of a team from which on they share rows.
constexpr int64_t kTeamRows = 64;

// Most products of few rows in one loop.
constexpr int64_t kMostTogether = 3;

// Matrices that few rows are multiplied by in one loop.
struct Together {
  std::array<ColumnBlocks, kMostTogether> b;
  int64_t count = 0;
  std::span<const ColumnBlocks> all() const {
    return {b.data(), static_cast<size_t>(count)};
  }
};

// The matrices whose products of few rows come after another's: decoding takes
// all in the same order token after token, and a thread that is done with its
// part of one can begin to fetch its part of the next. A guess: they may be
// gone.
class NextProducts {
 public:
  void Set(const Together& next) {
    const std::lock_guard<std::mutex> lock(mutex_);
    next_ = next;
  }
  Together Get() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return next_;
  }

 private:
  std::mutex mutex_;
  Together next_;
};

// Remembers that these products follow those before on this thread, and lets
// the team fetch what came after them when they were computed last.
void ReadAhead(const Together& these,
               const std::shared_ptr<NextProducts>& next) {
  thread_local std::shared_ptr<NextProducts> before;
  const int64_t threads = TeamThreads();
  if (threads == 1) return;
  if (before != nullptr) before->Set(these);
  before = next;
  const Together following = next->Get();
  if (following.count == 0) return;
  TeamReadsAhead([&](int thread, std::vector<MemoryStretch>& stretches) {
    AppendFewRowsPart(following.all(), threads, thread, stretches);
  });
}

Storage AllocateBytes(int64_t bytes) {
  return AllocateStorage((bytes + 3) / int64_t{sizeof(float)});
}

}  // namespace

struct PackedMatrix::Layout {
  dnnl::memory::desc desc;
  bool column_blocks;
  bool panels;  // column blocks that panels.h fills
  // Found when first asked for: see FewRowsBlock.
  std::once_flag few_rows_once;
  int64_t few_rows_block = 0;
  std::shared_ptr<NextProducts> next = std::make_shared<NextProducts>();
};

PackedMatrix::PackedMatrix(int64_t k, int64_t n, Precision precision)
    : k_(k), n_(n), precision_(precision) {
  ALIGN_CHECK(k > 0 && n > 0) << "[PackedMatrix] (" << k << ", " << n << ")";
  layout_ = std::make_unique<Layout>();
  layout_->desc = ChooseLayout(k, n, precision);
  layout_->column_blocks = layout_->desc == InColumnBlocks(k, n, precision);
  layout_->panels = onednn::kPanelsPay && layout_->column_blocks;
  data_ = AllocateBytes(bytes());
}

PackedMatrix::PackedMatrix(const MatrixView& b, Precision precision)
    : PackedMatrix(b.rows, b.cols, precision) {
  if (!layout_->panels) {
    onednn::RunReorder(onednn::Strided(b), b.data, layout_->desc, data_.get());
  } else if (precision == Precision::kBf16) {
    FillPanels(b, reinterpret_cast<Bf16*>(data_.get()));
  } else {
    FillPanels(b, data_.get());
  }
}

PackedMatrix::PackedMatrix(const Bf16* b, int64_t k, int64_t n)
    : PackedMatrix(k, n, Precision::kBf16) {
  if (layout_->panels) {
    onednn::PackRows(b, n, k, n, reinterpret_cast<Bf16*>(data_.get()));
  } else {
    onednn::RunReorder(onednn::Dense(k, n, dnnl::memory::data_type::bf16), b,
                       layout_->desc, data_.get());
  }
}

PackedMatrix::PackedMatrix(PackedMatrix&&) noexcept = default;
PackedMatrix& PackedMatrix::operator=(PackedMatrix&&) noexcept = default;
PackedMatrix::~PackedMatrix() = default;

int64_t PackedMatrix::bytes() const {
  return static_cast<int64_t>(layout_->desc.get_size());
}

ColumnBlocks PackedMatrix::Blocks() const {
  return {data_.get(), k_, n_, precision_};
}

bool PackedMatrix::TakesFewRows(int64_t m) const {
  return layout_->column_blocks && m <= MaxFewRows(precision_) &&
         FewRowsBlock() > 0;
}

void PackedMatrix::MultiplyTogether(const void* a, int64_t m,
                                    std::span<const PackedProduct> products) {
  if (m == 0 || products.empty()) return;
  const PackedMatrix& first = *products[0].b;
  bool together = std::ssize(products) <= kMostTogether;
  for (const PackedProduct& product : products) {
    ALIGN_CHECK(product.b->k_ == first.k_ &&
                product.b->precision_ == first.precision_)
        << "[PackedMatrix] rows of " << first.k_ << " times " << product.b->k_;
    together = together && product.b->TakesFewRows(m);
  }
  if (!together) {
    for (const PackedProduct& product : products) {
      product.b->Run(a, m, product.c, /*accumulate=*/false);
    }
    return;
  }
  Together these;
  std::array<FewRowsProduct, kMostTogether> few;
  for (const PackedProduct& product : products) {
    const PackedMatrix& b = *product.b;
    few[these.count] = {b.Blocks(), b.FewRowsBlock(), product.c};
    these.b[these.count++] = b.Blocks();
  }
  ReadAhead(these, first.layout_->next);
  MultiplyFewRows(a, m, std::span(few).first(these.count));
}

void PackedMatrix::Run(const void* a, int64_t m, float* c,
                       bool accumulate) const {
  if (m == 0) return;
  if (!accumulate && layout_->column_blocks) {
    if (TakesFewRows(m)) {
      const PackedProduct product{this, c};
      return MultiplyTogether(a, m, {&product, 1});
    }
    // By columns the matrix is read once; many rows repay reading it again.
    if (TeamThreads() > 1 && m < kTeamRows * TeamThreads() &&
        PackedRowsExact(precision_)) {
      return RunInParts(a, m, c);
    }
  }
  const int64_t width = k_ * (precision_ == Precision::kBf16 ? 2 : 4);
  ForTeamRowParts(m, bytes(), [&](int64_t begin, int64_t rows) {
    RunWhole(static_cast<const char*>(a) + begin * width, rows, c + begin * n_,
             accumulate);
  });
}

void PackedMatrix::RunWhole(const void* a, int64_t m, float* c,
                            bool accumulate) const {
  const dnnl::memory::desc a_desc =
      onednn::Dense(m, k_, onednn::TypeOf(precision_));
  const dnnl::memory::desc c_desc =
      onednn::Dense(m, n_, dnnl::memory::data_type::f32);
  const dnnl::matmul product(
      onednn::DescribeProduct(a_desc, layout_->desc, c_desc, accumulate));
  onednn::RunProduct(product, a_desc, a, layout_->desc, data_.get(), c_desc, c);
}

// By columns, one part for each thread of the team. Through dense copies of
// the parts: with another stride oneDNN falls back to a kernel that is slow and
// not exact.
void PackedMatrix::RunInParts(const void* a, int64_t m, float* c) const {
  const ColumnBlocks blocks = Blocks();
  const int64_t parts = std::min<int64_t>(TeamThreads(), blocks.count());
  const dnnl::memory::desc a_desc =
      onednn::Dense(m, k_, onednn::TypeOf(precision_));
  ParallelFor(parts, [&](int64_t part) {
    const int64_t first = blocks.count() * part / parts;
    const int64_t last = blocks.count() * (part + 1) / parts;
    const int64_t begin = first * ColumnBlocks::kCols;
    const int64_t cols = std::min(n_, last * ColumnBlocks::kCols) - begin;
    const dnnl::memory::desc b_desc = InColumnBlocks(k_, cols, precision_);
    const dnnl::memory::desc c_desc =
        onednn::Dense(m, cols, dnnl::memory::data_type::f32);
    const Storage dense = AllocateStorage(m * cols);
    const dnnl::matmul product(onednn::DescribeProduct(a_desc, b_desc, c_desc,
                                                       /*accumulate=*/false));
    const char* b =
        static_cast<const char*>(blocks.data) + first * blocks.block_bytes();
    onednn::RunProduct(product, a_desc, a, b_desc, b, c_desc, dense.get());
    for (int64_t i = 0; i < m; ++i) {
      std::copy_n(dense.get() + i * cols, cols, c + i * n_ + begin);
    }
  });
}

// The k_block with which MultiplyFewRows gives products of this matrix' shape
// the bits that oneDNN gives them, found by comparing all columns; 0: none.
int64_t PackedMatrix::FindFewRowsBlock() const {
  if (!PackedRowsExact(precision_)) return 0;
  // This matrix' own values may be zeros, which agree with anything.
  const std::vector<float> b = ProbeValues(k_ * n_, 7);
  const PackedMatrix probe(RowMajor(b.data(), k_, n_), precision_);
  const std::vector<float> values = ProbeValues(k_, 11);
  const std::vector<Bf16> truncated = Truncated(values);
  const void* row = values.data();
  if (precision_ == Precision::kBf16) row = truncated.data();
  std::vector<float> expected(n_), c(n_);
  probe.RunWhole(row, 1, expected.data(), /*accumulate=*/false);
  for (const int64_t block : {int64_t{1024}, int64_t{512}, k_}) {
    const FewRowsProduct product{probe.Blocks(), block, c.data()};
    MultiplyFewRows(row, 1, {&product, 1});
    if (std::memcmp(c.data(), expected.data(), n_ * sizeof(float)) == 0) {
      return block;
    }
  }
  return 0;
}

// The same, found once for all matrices of a shape.
int64_t PackedMatrix::FewRowsBlock() const {
  std::call_once(layout_->few_rows_once, [&] {
    static std::mutex mutex;
    static auto& blocks =
        *new std::map<std::tuple<Precision, int64_t, int64_t>, int64_t>();
    const std::lock_guard<std::mutex> lock(mutex);
    const auto [at, is_new] = blocks.try_emplace({precision_, k_, n_}, 0);
    if (is_new) at->second = FindFewRowsBlock();
    layout_->few_rows_block = at->second;
  });
  return layout_->few_rows_block;
}

void PackedMatrix::MultiplyInOneCall(const void* a, int64_t m, float* c) const {
  RunWhole(a, m, c, /*accumulate=*/false);
}

void PackedMatrix::Multiply(const float* a, int64_t m, float* c,
                            bool accumulate) const {
  ALIGN_CHECK(precision_ == Precision::kF32)
      << "[PackedMatrix] f32 rows times a bf16 matrix";
  Run(a, m, c, accumulate);
}

void PackedMatrix::Multiply(const Bf16* a, int64_t m, float* c,
                            bool accumulate) const {
  ALIGN_CHECK(precision_ == Precision::kBf16)
      << "[PackedMatrix] bf16 rows times an f32 matrix";
  Run(a, m, c, accumulate);
}

// Whether each of `rows` equal rows gets the bits that a row of a product of 64
// rows gets, and in f32 those of plain operands.
bool PackedMatrix::RowsAgree(Precision precision, const ProbeShape& shape,
                             int64_t rows) {
  const int64_t k = shape.k, n = shape.n;
  const std::vector<float> b = ProbeValues(k * n, 7);
  const MatrixView view = shape.View(b.data());
  const PackedMatrix packed(view, precision);
  const std::vector<float> row = ProbeValues(k, 11);
  const auto product = [&](int64_t m, float* c) {
    std::vector<float> a(m * k);
    for (int64_t i = 0; i < m; ++i) {
      std::copy(row.begin(), row.end(), a.begin() + i * k);
    }
    if (precision == Precision::kF32) {
      return packed.RunWhole(a.data(), m, c, /*accumulate=*/false);
    }
    packed.RunWhole(Truncated(a).data(), m, c, /*accumulate=*/false);
  };
  std::vector<float> expected(64 * n), c(rows * n);
  {
    const SerialScope one_thread;
    product(64, expected.data());
  }
  product(rows, c.data());
  if (precision == Precision::kF32) {
    std::vector<float> plain(n);
    Matmul(RowMajor(row.data(), 1, k), view, plain.data(), n);
    expected.insert(expected.begin(), plain.begin(), plain.end());
    if (std::memcmp(expected.data(), expected.data() + n, n * sizeof(float)) !=
        0) {
      return false;
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    if (std::memcmp(c.data() + i * n, expected.data(), n * sizeof(float)) !=
        0) {
      return false;
    }
  }
  return true;
}

bool PackedMatrix::FindExact(Precision precision) {
  for (const ProbeShape& shape : kProbeShapes) {
    for (int64_t rows : kProbeRows) {
      if (!RowsAgree(precision, shape, rows)) return false;
    }
  }
  return true;
}

bool PackedRowsExact(Precision precision) {
  if (precision == Precision::kF32) {
    static const bool f32 = GetMatmulMode() == MatmulMode::kWhole &&
                            PackedMatrix::FindExact(Precision::kF32);
    return f32;
  }
  static const bool bf16 = PackedMatrix::FindExact(Precision::kBf16);
  return bf16;
}

bool PackedTeamsShare(Precision precision) {
  // Where there is a kernel for oneDNN's blocks of columns, oneDNN uses them.
  return MaxFewRows(precision) > 0 && PackedRowsExact(precision);
}

}  // namespace align
