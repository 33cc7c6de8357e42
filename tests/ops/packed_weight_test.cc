#include "align/ops/packed_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "align/base/rng.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

constexpr int64_t kRows = 5, kIn = 96, kOut = 40;

std::vector<float> Random(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(rng.Normal());
  return values;
}

bool SameBits(const Tensor& a, const Tensor& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Weight {
  std::vector<float> values = Random(kOut * kIn, 1);
  std::vector<float> grads = std::vector<float>(kOut * kIn);
  Tensor tensor = Tensor::Leaf({kOut, kIn}, values, grads);
};

TEST(PackedWeightTest, KeptCopiesGiveTheBitsOfTraining) {
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    if (!PackedRowsExact(precision)) continue;
    Weight w;
    AttachPacked(w.tensor, precision);
    const Tensor x = Tensor::From({kRows, kIn}, Random(kRows * kIn, 2));
    const Tensor trained = Linear(x, w.tensor);
    const NoGrad no_grad;
    EXPECT_TRUE(SameBits(Linear(x, w.tensor), trained));
    EXPECT_TRUE(SameBits(Linear(x, w.tensor), trained));
  }
}

TEST(PackedWeightTest, ChangedValuesAreSeenOnceTold) {
  Weight w;
  AttachPacked(w.tensor, Precision::kBf16);
  const Tensor x = Tensor::From({kRows, kIn}, Random(kRows * kIn, 2));
  const NoGrad no_grad;
  const Tensor before = Linear(x, w.tensor);
  for (float& v : w.values) v = 2 * v;
  w.tensor.derived()->ValuesChanged();
  const Tensor after = Linear(x, w.tensor);
  for (int64_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after.data()[i], 2 * before.data()[i]);
  }
}

// Operands are rounded to 8 bits, so a sum of K products of normal numbers is
// off by about sqrt(2 K) 2^-9; five times that is left to chance.
TEST(PackedWeightTest, Bf16ValuesAndGradientsAreNearThoseOfF32) {
  const double tolerance = 5 * std::sqrt(2.0 * kIn) / 512;
  const std::vector<float> seed = Random(kRows * kOut, 3);
  std::vector<std::vector<float>> results[2];
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    Weight w;
    AttachPacked(w.tensor, precision);
    std::vector<float> x = Random(kRows * kIn, 2), dx(x.size());
    const Tensor y = Linear(Tensor::Leaf({kRows, kIn}, x, dx), w.tensor);
    Backward(y, seed);
    results[precision == Precision::kBf16] = {
        {y.values().begin(), y.values().end()}, dx, w.grads};
  }
  for (size_t part = 0; part < 3; ++part) {
    for (size_t i = 0; i < results[0][part].size(); ++i) {
      EXPECT_NEAR(results[1][part][i], results[0][part][i], tolerance)
          << "value, dx, dw: " << part;
    }
  }
  EXPECT_NE(results[0][0], results[1][0]);
}

}  // namespace
}  // namespace align
