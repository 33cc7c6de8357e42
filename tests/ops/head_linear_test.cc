#include "align/ops/head_linear.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "align/dnnl/matmul.h"
#include "tests/support/op_check.h"

namespace align {
namespace {

constexpr int64_t kRows = 3, kHeads = 2, kBlock = 7, kRank = 4;

struct Operands {
  std::vector<float> x, weight;
  int64_t width;  // of a head of x

  explicit Operands(int64_t width)
      : x(RandomFloats(kRows * kHeads * width, Rng(1))),
        weight(RandomFloats(kHeads * kBlock * kRank, Rng(2))),
        width(width) {}

  Tensor Run(const HeadLinearShape& shape) const {
    return HeadLinear(Tensor::From({kRows, kHeads * width}, x),
                      Tensor::From({kHeads * kBlock, kRank}, weight), shape);
  }
  double X(int64_t row, int64_t head, int64_t i) const {
    return x[(row * kHeads + head) * width + i];
  }
  double Weight(int64_t head, int64_t row, int64_t rank) const {
    return weight[(head * kBlock + row) * kRank + rank];
  }
};

TEST(HeadLinearTest, RowsOfABlockMapInputsToTheRankAndTheRestFollows) {
  const Operands in(5);  // 3 inputs and a rest of 2
  const Tensor out = in.Run({.heads = kHeads,
                             .first = 1,
                             .count = 3,
                             .layout = WeightLayout::kInOut,
                             .keep_rest = true});
  ASSERT_EQ(out.shape(), Shape({kRows, kHeads * (kRank + 2)}));
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t h = 0; h < kHeads; ++h) {
      const float* row = out.data() + (i * kHeads + h) * (kRank + 2);
      for (int64_t r = 0; r < kRank; ++r) {
        double sum = 0;
        for (int64_t d = 0; d < 3; ++d) {
          sum += in.X(i, h, d) * in.Weight(h, 1 + d, r);
        }
        EXPECT_NEAR(row[r], sum, 1e-5);
      }
      EXPECT_EQ(row[kRank], static_cast<float>(in.X(i, h, 3)));
      EXPECT_EQ(row[kRank + 1], static_cast<float>(in.X(i, h, 4)));
    }
  }
}

TEST(HeadLinearTest, OrTheRankToTheRowsWithoutTheRest) {
  const Operands in(6);
  const Tensor out = in.Run({.heads = kHeads, .first = 2, .count = 5});
  ASSERT_EQ(out.shape(), Shape({kRows, kHeads * 5}));
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t o = 0; o < 5; ++o) {
        double sum = 0;
        for (int64_t r = 0; r < kRank; ++r) {
          sum += in.X(i, h, r) * in.Weight(h, 2 + o, r);
        }
        EXPECT_NEAR(out.data()[(i * kHeads + h) * 5 + o], sum, 1e-5);
      }
    }
  }
}

TEST(HeadLinearTest, RowsDoNotDependOnTheirNeighbours) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const Operands in(6);
  const HeadLinearShape shape{.heads = kHeads, .first = 0, .count = 5};
  const Tensor all = in.Run(shape);
  for (int64_t i = 0; i < kRows; ++i) {
    const std::span<const float> row =
        std::span(in.x).subspan(i * kHeads * 6, kHeads * 6);
    const Tensor one =
        HeadLinear(Tensor::From({1, kHeads * 6}, row),
                   Tensor::From({kHeads * kBlock, kRank}, in.weight), shape);
    EXPECT_EQ(std::memcmp(one.data(), all.data() + i * kHeads * 5,
                          kHeads * 5 * sizeof(float)),
              0);
  }
}

TEST(HeadLinearDeathTest, RowsOutsideABlockAbort) {
  const Operands in(6);
  EXPECT_DEATH(in.Run({.heads = kHeads, .first = 3, .count = 5}),
               "rows 3 to 8 of 7");
}

}  // namespace
}  // namespace align
