#include "align/ops/packed_weight.h"

#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/dnnl/packed_matrix.h"
#include "align/kernels/bf16.h"
#include "align/kernels/transpose.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

// Fewer rows than these do not repay a packing of their own in f32.
constexpr int64_t kFewRows = 96;

double FloatBytes(Precision precision) {
  return precision == Precision::kBf16 ? 2 : 4;
}

// Counts a product's work while it runs.
class Product {
 public:
  Product(int64_t m, int64_t k, int64_t n, Precision precision)
      : scope_("product", 2.0 * m * k * n,
               FloatBytes(precision) * (m * k + k * n) + 4.0 * m * n) {}

 private:
  ProfileScope scope_;
};

std::shared_ptr<const PackedMatrix> Pack(const MatrixView& b,
                                         Precision precision) {
  const ProfileScope scope("pack", 0,
                           (4 + FloatBytes(precision)) * b.rows * b.cols);
  return std::make_shared<const PackedMatrix>(b, precision);
}

// The packed copies of views into one weight.
class PackedWeight : public Tensor::Derived {
 public:
  explicit PackedWeight(Precision precision) : precision_(precision) {}

  Precision precision() const { return precision_; }

  std::shared_ptr<const PackedMatrix> Kept(const MatrixView& b) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<const PackedMatrix>& kept = kept_[{b.data, b.rows, b.cols}];
    if (kept == nullptr) kept = Pack(b, precision_);
    return kept;
  }

  void ValuesChanged() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept_.clear();
  }

 private:
  using Key = std::tuple<const float*, int64_t, int64_t>;
  Precision precision_;
  std::mutex mutex_;
  std::map<Key, std::shared_ptr<const PackedMatrix>> kept_;
};

PackedWeight* PackedOf(const Tensor& weight) {
  return dynamic_cast<PackedWeight*>(weight.derived().get());
}

// The transpose of n rows, f32 or bf16.
template <class T>
void Transposed(const T* rows, int64_t n, int64_t width, T* out) {
  const ProfileScope scope("transpose", 0, 2.0 * sizeof(T) * n * width);
  kernels::Transpose(rows, n, width, out);
}

}  // namespace

void AttachPacked(const Tensor& weight, Precision precision) {
  weight.SetDerived(std::make_shared<PackedWeight>(precision));
}

Precision PrecisionOf(const Tensor& weight) {
  const PackedWeight* packed = PackedOf(weight);
  return packed == nullptr ? Precision::kF32 : packed->precision();
}

bool TeamsShareProducts(Precision precision) {
  return PackedTeamsShare(precision);
}

Storage AllocateBf16(int64_t count) { return AllocateStorage((count + 1) / 2); }

Bf16* AsBf16(const Storage& storage) {
  return reinterpret_cast<Bf16*>(storage.get());
}

// What was made of rows so far.
struct ProductRows::Copies : Tensor::Derived {
  Storage rounded;
  std::unique_ptr<const PackedMatrix> packed_f32, packed_bf16;
  void ValuesChanged() override {
    rounded = nullptr;
    packed_f32 = nullptr;
    packed_bf16 = nullptr;
  }
};

ProductRows::ProductRows(const float* rows, int64_t n, int64_t width)
    : rows_(rows), n_(n), width_(width), copies_(std::make_shared<Copies>()) {}

ProductRows::ProductRows(const float* rows, Storage rounded, int64_t n,
                         int64_t width)
    : ProductRows(rows, n, width) {
  copies_->rounded = std::move(rounded);
}

ProductRows::ProductRows(const Tensor& x, Precision precision)
    : rows_(x.data()), n_(x.dim(0)), width_(x.dim(1)) {
  copies_ = std::dynamic_pointer_cast<Copies>(x.derived());
  if (copies_ != nullptr) return;
  copies_ = std::make_shared<Copies>();
  const bool keep = precision == Precision::kBf16 || x.has_history();
  if (keep && x.derived() == nullptr) x.SetDerived(copies_);
}

const Bf16* ProductRows::Rounded() const {
  if (copies_->rounded == nullptr) {
    const ProfileScope scope("round", 0, 6.0 * n_ * width_);
    copies_->rounded = AllocateBf16(n_ * width_);
    kernels::RoundToBf16(rows_, n_ * width_, AsBf16(copies_->rounded));
  }
  return AsBf16(copies_->rounded);
}

const PackedMatrix& ProductRows::Packed(Precision precision) const {
  if (precision == Precision::kF32) {
    if (copies_->packed_f32 == nullptr) {
      const ProfileScope scope("pack", 0, 8.0 * n_ * width_);
      copies_->packed_f32 = std::make_unique<const PackedMatrix>(
          RowMajor(rows_, n_, width_), precision);
    }
    return *copies_->packed_f32;
  }
  const Bf16* rounded = Rounded();
  if (copies_->packed_bf16 == nullptr) {
    const ProfileScope scope("pack", 0, 4.0 * n_ * width_);
    copies_->packed_bf16 =
        std::make_unique<const PackedMatrix>(rounded, n_, width_);
  }
  return *copies_->packed_bf16;
}

namespace {

void CheckWidth(const ProductRows& a, const MatrixView& b) {
  ALIGN_CHECK(a.width() == b.rows)
      << "[MultiplyByWeight] rows of " << a.width() << " times (" << b.rows
      << ", " << b.cols << ")";
}

// Whether products of n rows with a packed weight use a copy that is kept.
bool Keeps(const PackedWeight* packed, int64_t n) {
  if (packed == nullptr || GradEnabled()) return false;
  return packed->precision() == Precision::kBf16 ||
         (n < kFewRows && PackedRowsExact(Precision::kF32));
}

}  // namespace

void MultiplyByWeight(const ProductRows& a, const Tensor& weight,
                      const MatrixView& b, float* c, bool accumulate) {
  CheckWidth(a, b);
  const int64_t n = a.count();
  PackedWeight* packed = PackedOf(weight);
  const bool bf16 =
      packed != nullptr && packed->precision() == Precision::kBf16;
  const bool keep = Keeps(packed, n);
  if (bf16) {
    const Bf16* rows = a.Rounded();
    const std::shared_ptr<const PackedMatrix> right =
        keep ? packed->Kept(b) : Pack(b, Precision::kBf16);
    const Product product(n, b.rows, b.cols, Precision::kBf16);
    return right->Multiply(rows, n, c, accumulate);
  }
  if (keep) {
    const std::shared_ptr<const PackedMatrix> right = packed->Kept(b);
    const Product product(n, b.rows, b.cols, Precision::kF32);
    return right->Multiply(a.f32(), n, c, accumulate);
  }
  const Product product(n, b.rows, b.cols, Precision::kF32);
  Matmul(RowMajor(a.f32(), n, a.width()), b, c, b.cols, accumulate);
}

void MultiplyByWeights(const ProductRows& a,
                       std::span<const WeightProduct> products) {
  const int64_t n = a.count();
  bool together = !products.empty();
  Precision precision = Precision::kF32;
  for (const WeightProduct& product : products) {
    const PackedWeight* packed = PackedOf(product.weight);
    together = together && Keeps(packed, n) &&
               (&product == &products[0] || packed->precision() == precision);
    if (together) precision = packed->precision();
  }
  if (!together) {
    for (const WeightProduct& product : products) {
      MultiplyByWeight(a, product.weight, product.b, product.c);
    }
    return;
  }
  std::vector<std::shared_ptr<const PackedMatrix>> rights;
  std::vector<PackedProduct> packed_products;
  int64_t cols = 0;
  for (const WeightProduct& product : products) {
    CheckWidth(a, product.b);
    rights.push_back(PackedOf(product.weight)->Kept(product.b));
    packed_products.push_back({rights.back().get(), product.c});
    cols += product.b.cols;
  }
  const void* rows = a.f32();
  if (precision == Precision::kBf16) rows = a.Rounded();
  const Product product(n, a.width(), cols, precision);
  PackedMatrix::MultiplyTogether(rows, n, packed_products);
}

void AddOuterProducts(const ProductRows& a, const ProductRows& b,
                      Precision precision, float* c) {
  ALIGN_CHECK(a.count() == b.count())
      << "[AddOuterProducts] " << a.count() << " and " << b.count() << " rows";
  const int64_t n = a.count(), m = a.width();
  if (n == 0) return;
  if (precision == Precision::kF32) {
    const Storage left = AllocateStorage(n * m);
    Transposed(a.f32(), n, m, left.get());
    if (WorthPacking(m, n, b.width())) {
      const PackedMatrix& right = b.Packed(precision);
      const Product product(m, n, b.width(), precision);
      return right.Multiply(left.get(), m, c, /*accumulate=*/true);
    }
    const Product product(m, n, b.width(), precision);
    return Matmul(RowMajor(left.get(), m, n), RowMajor(b.f32(), n, b.width()),
                  c, b.width(), /*accumulate=*/true);
  }
  const Storage left = AllocateBf16(n * m);
  Transposed(a.Rounded(), n, m, AsBf16(left));
  const PackedMatrix& right = b.Packed(precision);
  const Product product(m, n, b.width(), precision);
  right.Multiply(AsBf16(left), m, c, /*accumulate=*/true);
}

}  // namespace align
