#include "align/ops/packed_weight.h"

#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>

#include "align/base/check.h"
#include "align/dnnl/packed_matrix.h"
#include "align/kernels/bf16.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

// Fewer rows than these do not repay a packing of their own in f32.
constexpr int64_t kFewRows = 96;

Storage AllocateBf16(int64_t count) { return AllocateStorage((count + 1) / 2); }

Bf16* AsBf16(const Storage& storage) {
  return reinterpret_cast<Bf16*>(storage.get());
}

// The packed copies of views into one weight.
class PackedWeight : public Tensor::Derived {
 public:
  explicit PackedWeight(Precision precision) : precision_(precision) {}

  Precision precision() const { return precision_; }

  std::shared_ptr<const PackedMatrix> Kept(const MatrixView& b) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<const PackedMatrix>& kept = kept_[{b.data, b.rows, b.cols}];
    if (kept == nullptr) {
      kept = std::make_shared<const PackedMatrix>(b, precision_);
    }
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

// The values of an activation in bf16.
struct RoundedCopy : Tensor::Derived {
  Storage values;
  void ValuesChanged() override { values = nullptr; }
};

Storage Round(const float* x, int64_t count) {
  Storage rounded = AllocateBf16(count);
  kernels::RoundToBf16(x, count, AsBf16(rounded));
  return rounded;
}

}  // namespace

void AttachPacked(const Tensor& weight, Precision precision) {
  weight.SetDerived(std::make_shared<PackedWeight>(precision));
}

Precision PrecisionOf(const Tensor& weight) {
  const PackedWeight* packed = PackedOf(weight);
  return packed == nullptr ? Precision::kF32 : packed->precision();
}

LeftRows::LeftRows(const Tensor& x, Precision precision)
    : LeftRows(x.data(), x.dim(0), x.dim(1)) {
  if (precision == Precision::kF32) return;
  if (x.derived() == nullptr) {
    const auto copy = std::make_shared<RoundedCopy>();
    copy->values = Round(rows_, n_ * width_);
    x.SetDerived(copy);
  }
  const auto* copy = dynamic_cast<RoundedCopy*>(x.derived().get());
  if (copy != nullptr) rounded_ = copy->values;
}

const Bf16* LeftRows::Rounded() const {
  if (rounded_ == nullptr) rounded_ = Round(rows_, n_ * width_);
  return AsBf16(rounded_);
}

void MultiplyByWeight(const LeftRows& a, const Tensor& weight,
                      const MatrixView& b, float* c, bool accumulate) {
  ALIGN_CHECK(a.width() == b.rows)
      << "[MultiplyByWeight] rows of " << a.width() << " times (" << b.rows
      << ", " << b.cols << ")";
  const int64_t n = a.count();
  PackedWeight* packed = PackedOf(weight);
  const bool bf16 =
      packed != nullptr && packed->precision() == Precision::kBf16;
  const bool keep = packed != nullptr && !GradEnabled();
  if (bf16) {
    if (keep) return packed->Kept(b)->Multiply(a.Rounded(), n, c, accumulate);
    return PackedMatrix(b, Precision::kBf16)
        .Multiply(a.Rounded(), n, c, accumulate);
  }
  if (keep && n < kFewRows && PackedRowsExact(Precision::kF32)) {
    return packed->Kept(b)->Multiply(a.f32(), n, c, accumulate);
  }
  Matmul(RowMajor(a.f32(), n, a.width()), b, c, b.cols, accumulate);
}

void AddOuterProducts(const LeftRows& a, const LeftRows& b, Precision precision,
                      float* c) {
  ALIGN_CHECK(a.count() == b.count())
      << "[AddOuterProducts] " << a.count() << " and " << b.count() << " rows";
  const int64_t n = a.count();
  if (n == 0) return;
  if (precision == Precision::kF32) {
    return Matmul(Transposed(RowMajor(a.f32(), n, a.width())),
                  RowMajor(b.f32(), n, b.width()), c, b.width(),
                  /*accumulate=*/true);
  }
  const Storage transposed = AllocateBf16(n * a.width());
  TransposeBf16(a.Rounded(), n, a.width(), AsBf16(transposed));
  PackedMatrix(b.Rounded(), n, b.width())
      .Multiply(AsBf16(transposed), a.width(), c, /*accumulate=*/true);
}

}  // namespace align
