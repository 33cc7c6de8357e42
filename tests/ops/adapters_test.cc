#include "align/ops/adapters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/op_check.h"

namespace align {
namespace {

using oracle::Matrix;

TEST(AddProductTest, AgreesWithTheOracle) {
  for (const auto& [n, out, rank] :
       std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {5, 7, 2}, {33, 6, 3}}) {
    CheckOp(
        {{n, out}, {n, rank}, {out, rank}},
        [](const auto& x) { return AddProduct(Scale(x[0], 1), x[1], x[2]); },
        [](const auto& x) {
          Matrix y = oracle::Linear(x[1], x[2], Matrix(0, 0));
          for (size_t i = 0; i < y.v.size(); ++i) y.v[i] += x[0].v[i];
          return y;
        });
  }
}

TEST(ScaleColumnsTest, AgreesWithTheOracle) {
  const std::vector<float> norms = {0.5f, 2, 3, 1, 0.25f};
  const std::vector<float> bias = {1, -1, 0, 2, 0.5f};
  CheckOp(
      {{7, 5}, {5}},
      [&](const auto& x) {
        return ScaleColumns(x[0], x[1], norms, Tensor::From({5}, bias));
      },
      [&](const auto& x) {
        Matrix y(7, 5);
        for (int i = 0; i < 7; ++i) {
          for (int j = 0; j < 5; ++j) {
            y(i, j) = x[1].v[j] / norms[j] * x[0](i, j) + bias[j];
          }
        }
        return y;
      });
}

TEST(DropoutTest, DropsTheShareAndBothWaysAlike) {
  const Rng rng(3);
  std::vector<float> ones(200 * 50, 1.0f), grads(ones.size());
  const Tensor x = Tensor::Leaf({200, 50}, ones, grads);
  const Tensor y = Dropout(x, 0.25, rng);
  double zeros = 0;
  for (float v : y.values()) {
    zeros += v == 0 ? 1 : 0;
    EXPECT_TRUE(v == 0 || v == static_cast<float>(1 / 0.75)) << v;
  }
  // Four standard deviations of 10,000 draws.
  EXPECT_NEAR(zeros / static_cast<double>(y.size()), 0.25, 0.0174);
  Backward(y, std::vector<float>(ones.size(), 1.0f));
  EXPECT_TRUE(std::equal(grads.begin(), grads.end(), y.values().begin()));
  // A row's mask is its own: it does not depend on how many there are.
  const Tensor fewer =
      Dropout(Tensor::From({3, 50}, std::span(ones).first(150)), 0.25, rng);
  EXPECT_TRUE(std::equal(fewer.values().begin(), fewer.values().end(),
                         y.values().begin()));
}

// Both layouts, and more outputs than a block of the product.
TEST(MergeProductTest, AddsTheProductAndScalesRowsToTheirNorms) {
  constexpr int64_t kOut = 70, kIn = 9, kRank = 3;
  const Tensor a =
      Tensor::From({kRank, kIn}, RandomFloats(kRank * kIn, Rng(1)));
  const Tensor b =
      Tensor::From({kOut, kRank}, RandomFloats(kOut * kRank, Rng(2)));
  const std::vector<float> start = RandomFloats(kOut * kIn, Rng(3));
  for (const WeightLayout layout :
       {WeightLayout::kOutIn, WeightLayout::kInOut}) {
    const bool out_in = layout == WeightLayout::kOutIn;
    Tensor weight =
        Tensor::From(out_in ? Shape{kOut, kIn} : Shape{kIn, kOut}, start);
    const std::vector<float> norms = AdaptedNorms(weight, layout, a, b, 0.7);
    const std::vector<float> factors(kOut, 2.0f);
    MergeProduct(a, b, 0.7, factors, layout, weight);
    for (int64_t o = 0; o < kOut; ++o) {
      double squares = 0;
      for (int64_t i = 0; i < kIn; ++i) {
        const int64_t at = out_in ? o * kIn + i : i * kOut + o;
        double sum = start[at];
        for (int64_t r = 0; r < kRank; ++r) {
          sum += 0.7 * b.data()[o * kRank + r] * a.data()[r * kIn + i];
        }
        squares += sum * sum;
        EXPECT_NEAR(weight.data()[at], 2 * sum, 2e-5);
      }
      EXPECT_NEAR(norms[o], std::sqrt(squares), 2e-5);
    }
  }
}

}  // namespace
}  // namespace align
