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

TEST(PackedWeightTest, LayersTogetherHaveTheBitsOfEach) {
  const std::vector<float> bias_values = Random(kOut, 4);
  const Tensor bias = Tensor::From({kOut}, bias_values);
  for (const Precision second : {Precision::kF32, Precision::kBf16}) {
    for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
      Weight w[3];
      for (Weight& one : w) {
        AttachPacked(one.tensor, &one == &w[1] ? second : precision);
      }
      Weight plain;  // keeps nothing
      for (const int64_t rows : {int64_t{0}, kRows, int64_t{150}}) {
        const Tensor x = Tensor::From({rows, kIn}, Random(rows * kIn, 2));
        const std::vector<std::vector<LinearLayer>> cases = {
            {},
            {{w[0].tensor, {}}},
            {{w[0].tensor, bias}, {w[1].tensor, {}}, {w[2].tensor, bias}},
            {{w[0].tensor, {}}, {plain.tensor, bias}}};
        for (const std::vector<LinearLayer>& layers : cases) {
          std::vector<Tensor> each;
          for (const LinearLayer& layer : layers) {
            each.push_back(Linear(x, layer.weight, layer.bias));
          }
          const auto check = [&](const std::vector<Tensor>& together) {
            ASSERT_EQ(together.size(), each.size());
            for (size_t i = 0; i < each.size(); ++i) {
              EXPECT_TRUE(SameBits(together[i], each[i])) << rows << ", " << i;
              EXPECT_EQ(together[i].requires_grad(), GradEnabled());
            }
          };
          check(Linears(x, layers));
          const NoGrad no_grad;
          check(Linears(x, layers));
        }
      }
    }
  }
}

TEST(PackedWeightTest, LayersTogetherTakeGradients) {
  Weight together[2], each[2];
  const std::vector<float> seed = Random(kRows * kOut, 3);
  const auto gradients = [&](Weight* w, const auto& outputs) {
    std::vector<float> x = Random(kRows * kIn, 2), dx(x.size());
    const std::vector<Tensor> y =
        outputs(Tensor::Leaf({kRows, kIn}, x, dx), w[0].tensor, w[1].tensor);
    Backward(std::vector<Root>{{y[0], seed}, {y[1], seed}});
    return std::vector{dx, w[0].grads, w[1].grads};
  };
  EXPECT_EQ(
      gradients(together,
                [](const Tensor& x, const Tensor& a, const Tensor& b) {
                  return Linears(x, std::vector<LinearLayer>{{a, {}}, {b, {}}});
                }),
      gradients(each, [](const Tensor& x, const Tensor& a, const Tensor& b) {
        return std::vector<Tensor>{Linear(x, a), Linear(x, b)};
      }));
}

// A packed copy of rows is shared by the products that sum over them, and does
// not outlive what they were.
TEST(PackedWeightTest, GradientsAreThoseOfTheRowsOfTheirOwnPass) {
  constexpr int64_t kMany = 3000, kWide = 128;
  if (PackedRowsExact(Precision::kF32)) {
    EXPECT_TRUE(WorthPacking(kWide, kMany, kIn));
  }
  std::vector<float> weight = Random(kWide * kIn, 1), dw(weight.size());
  const Tensor w = Tensor::Leaf({kWide, kIn}, weight, dw);
  std::vector<float> values = Random(kMany * kIn, 2), dx(values.size());
  const std::vector<float> seed(kMany * kWide, 1.0f);
  const auto step = [&] {
    std::fill(dw.begin(), dw.end(), 0.0f);
    const Tensor leaf = Tensor::Leaf({kMany, kIn}, values, dx);
    // Of a leaf, whose values change between steps, and of an output.
    Backward(std::vector<Root>{{Linear(leaf, w), seed},
                               {Linear(Scale(leaf, 2), w), seed}});
    return dw;
  };
  const std::vector<float> before = step();
  for (float& v : values) v = -v;
  const std::vector<float> after = step();
  for (size_t i = 0; i < before.size(); ++i) {
    ASSERT_EQ(after[i], -before[i]) << i;
  }
  EXPECT_NE(before[0], 0);
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
