#include "align/ops/ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/op_check.h"

namespace align {
namespace {

using oracle::Matrix;

TEST(LinearTest, AgreesWithTheOracle) {
  for (const auto& [n, in, out] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 1}, {3, 5, 7}, {17, 9, 4}, {70, 8, 3}}) {
    CheckOp(
        {{n, in}, {out, in}, {out}},
        [](const auto& x) { return Linear(x[0], x[1], x[2]); },
        [](const auto& x) { return oracle::Linear(x[0], x[1], x[2]); });
    CheckOp(
        {{n, in}, {out, in}}, [](const auto& x) { return Linear(x[0], x[1]); },
        [](const auto& x) { return oracle::Linear(x[0], x[1], Matrix(0, 0)); });
  }
}

TEST(LinearTest, WeightsByInputsAgreeWithTheOracle) {
  CheckOp(
      {{5, 3}, {3, 7}, {7}},
      [](const auto& x) {
        return Linear(x[0], x[1], x[2], WeightLayout::kInOut);
      },
      [](const auto& x) {
        Matrix transposed(7, 3);
        for (int i = 0; i < 7; ++i) {
          for (int j = 0; j < 3; ++j) transposed(i, j) = x[1](j, i);
        }
        return oracle::Linear(x[0], transposed, x[2]);
      });
}

TEST(RmsNormTest, ByHeadAndRelativeToOneAgreesWithTheOracle) {
  CheckOp(
      {{3, 20}, {5}},
      [](const auto& x) { return RmsNorm(x[0], x[1], 1e-5f, 1); },
      [](const auto& x) { return oracle::RmsNorm(x[0], x[1], 1e-5, 1); });
}

TEST(LayerNormTest, AgreesWithTheOracle) {
  for (const auto& [n, d] :
       std::vector<std::array<int64_t, 2>>{{1, 2}, {2, 7}, {3, 16}, {5, 41}}) {
    CheckOp(
        {{n, d}, {d}, {d}},
        [](const auto& x) { return LayerNorm(x[0], x[1], x[2], 1e-2f); },
        [](const auto& x) {
          return oracle::LayerNorm(x[0], x[1], x[2], 1e-2);
        });
  }
}

TEST(LayerNormTest, LargeMeansDoNotCancel) {
  const std::vector<float> x = {1000, 1001, 1002, 1003};
  const Tensor ones = Tensor::From({4}, std::vector<float>{1, 1, 1, 1});
  const Tensor y =
      LayerNorm(Tensor::From({1, 4}, x), ones, Tensor::Zeros({4}), 0);
  EXPECT_NEAR(y.data()[0], -1.5 / std::sqrt(1.25), 1e-5);
  EXPECT_NEAR(y.data()[3], 1.5 / std::sqrt(1.25), 1e-5);
}

TEST(ActivationTest, AgreesWithTheOracle) {
  for (const Activation activation :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
    CheckOp(
        {{3, 19}, {3, 19}},
        [&](const auto& x) { return GatedActivation(x[0], x[1], activation); },
        [&](const auto& x) { return oracle::Gated(x[0], x[1], activation); });
    CheckOp(
        {{3, 19}}, [&](const auto& x) { return Activate(x[0], activation); },
        [&](const auto& x) {
          Matrix y = x[0];
          for (double& v : y.v) v = oracle::Activate(v, activation);
          return y;
        });
  }
}

// Every branch of our own erf and tanh, to a few ulps of the input's size.
TEST(ActivationTest, WholeRangeIsExact) {
  for (const Activation activation :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
    std::vector<float> x;
    for (int i = -4000; i <= 4000; ++i) x.push_back(0.005f * i);
    const auto count = static_cast<int64_t>(x.size());
    const Tensor y = Activate(Tensor::From({1, count}, x), activation);
    for (int64_t i = 0; i < count; ++i) {
      EXPECT_NEAR(y.data()[i], oracle::Activate(x[i], activation),
                  3e-7 * (1 + std::abs(x[i])))
          << x[i];
    }
  }
}

TEST(ScaleTest, AgreesWithTheOracle) {
  CheckOp(
      {{3, 5}}, [](const auto& x) { return Scale(x[0], 2.5f); },
      [](const auto& x) {
        Matrix y = x[0];
        for (double& v : y.v) v *= 2.5;
        return y;
      });
}

TEST(HeadsTest, SlicesAndConcatenationsAgreeWithTheOracle) {
  CheckOp(
      {{3, 10}}, [](const auto& x) { return SliceHeads(x[0], 2, 1, 3); },
      [](const auto& x) {
        Matrix y(3, 6);
        for (int i = 0; i < 3; ++i) {
          for (int j = 0; j < 6; ++j) y(i, j) = x[0](i, j / 3 * 5 + 1 + j % 3);
        }
        return y;
      });
  CheckOp(
      {{3, 4}, {3, 3}},
      [](const auto& x) { return ConcatHeads(x[0], x[1], 2); },
      [](const auto& x) {
        Matrix y(3, 10);
        for (int i = 0; i < 3; ++i) {
          for (int j = 0; j < 10; ++j) {
            y(i, j) =
                j % 5 < 2 ? x[0](i, j / 5 * 2 + j % 5) : x[1](i, j % 5 - 2);
          }
        }
        return y;
      });
}

TEST(RmsNormTest, AgreesWithTheOracle) {
  for (const auto& [n, d] :
       std::vector<std::array<int64_t, 2>>{{1, 1}, {2, 7}, {3, 16}, {5, 41}}) {
    CheckOp(
        {{n, d}, {d}}, [](const auto& x) { return RmsNorm(x[0], x[1], 1e-5f); },
        [](const auto& x) { return oracle::RmsNorm(x[0], x[1], 1e-5); });
  }
}

TEST(SwiGluTest, AgreesWithTheOracle) {
  for (const auto& [n, d] :
       std::vector<std::array<int64_t, 2>>{{1, 1}, {3, 5}, {2, 24}}) {
    CheckOp(
        {{n, d}, {n, d}}, [](const auto& x) { return SwiGlu(x[0], x[1]); },
        [](const auto& x) { return oracle::SwiGlu(x[0], x[1]); });
  }
}

TEST(SwiGluTest, LargeInputsStayFinite) {
  const Tensor gate =
      Tensor::From({1, 4}, std::vector<float>{-200, 200, 0, 88});
  const Tensor up = Tensor::From({1, 4}, std::vector<float>{3, 3, 3, 3});
  const Tensor y = SwiGlu(gate, up);
  EXPECT_NEAR(y.data()[0], 0, 1e-30);
  EXPECT_EQ(y.data()[1], 600);
  EXPECT_EQ(y.data()[2], 0);
  EXPECT_EQ(y.data()[3], 264);
}

TEST(AddTest, AgreesWithTheOracleAndMayAddATensorToItself) {
  CheckOp(
      {{3, 5}}, [](const auto& x) { return Add(x[0], x[0]); },
      [](const auto& x) {
        Matrix y = x[0];
        for (double& v : y.v) v *= 2;
        return y;
      });
}

TEST(EmbeddingTest, RepeatedIdsAddTheirGradients) {
  const std::vector<int32_t> ids = {2, 0, 2, 2};
  CheckOp(
      {{3, 4}}, [&](const auto& x) { return Embedding(x[0], ids); },
      [&](const auto& x) {
        Matrix y(4, 4);
        for (int i = 0; i < 4; ++i) {
          for (int j = 0; j < 4; ++j) y(i, j) = x[0](ids[i], j);
        }
        return y;
      });
}

TEST(EmbeddingDeathTest, IdOutsideTheTableAborts) {
  const Tensor table = Tensor::Zeros({3, 2});
  EXPECT_DEATH(Embedding(table, std::vector<int32_t>{3}), "id 3 of 3");
}

TEST(GatherRowsTest, AgreesWithTheOracle) {
  const std::vector<int32_t> rows = {1, 1, 0};
  CheckOp(
      {{2, 3}}, [&](const auto& x) { return GatherRows(x[0], rows); },
      [&](const auto& x) {
        Matrix y(3, 3);
        for (int i = 0; i < 3; ++i) {
          for (int j = 0; j < 3; ++j) y(i, j) = x[0](rows[i], j);
        }
        return y;
      });
}

TEST(ScatterRowsTest, AgreesWithTheOracle) {
  const std::vector<int32_t> rows = {3, 0};
  CheckOp(
      {{2, 3}}, [&](const auto& x) { return ScatterRows(x[0], rows, 5); },
      [&](const auto& x) {
        Matrix y(5, 3);
        for (int i = 0; i < 2; ++i) {
          for (int j = 0; j < 3; ++j) y(rows[i], j) = x[0](i, j);
        }
        return y;
      });
}

TEST(ScatterRowsDeathTest, PlacesFit) {
  const Tensor x = Tensor::Zeros({2, 3});
  EXPECT_DEATH(ScatterRows(x, std::vector<int32_t>{0, 5}, 5), "row 5 of 5");
  EXPECT_DEATH(ScatterRows(x, std::vector<int32_t>{0}, 5), "1 places");
}

TEST(RopeTest, AgreesWithTheOracle) {
  const std::vector<int32_t> positions = {0, 5, 1, 63};
  for (int64_t head_dim : {2, 6, 16, 18}) {
    const RopeTable table(64, head_dim, 10000);
    CheckOp(
        {{4, 3 * head_dim}},
        [&](const auto& x) { return Rope(x[0], table, positions); },
        [&](const auto& x) {
          return oracle::Rope(x[0], head_dim, 10000, positions);
        });
  }
}

TEST(RopeTest, PartsOfHeadsAndNeighboursAgreeWithTheOracle) {
  const std::vector<int32_t> positions = {0, 5, 1, 63};
  const RopeTable table(64, 6, 10000);
  for (const RopeLayout& layout :
       {RopeLayout{.head_dim = 9}, RopeLayout{.head_dim = 9, .offset = 3},
        RopeLayout{.head_dim = 6, .interleaved = true},
        RopeLayout{.head_dim = 9, .offset = 2, .interleaved = true}}) {
    CheckOp(
        {{4, 2 * layout.head_dim}},
        [&](const auto& x) { return Rope(x[0], table, positions, layout); },
        [&](const auto& x) {
          return oracle::Rope(x[0], 6, 10000, positions, layout);
        });
  }
}

}  // namespace
}  // namespace align
