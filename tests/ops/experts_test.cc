#include "align/ops/experts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "align/ops/ops.h"
#include "tests/support/op_check.h"

namespace align {
namespace {

using oracle::Matrix;
using ::testing::ElementsAre;
using Score = RouterOptions::Score;

// Weights of experts that are known, as a matrix [N, k].
Matrix Weights(const Matrix& logits, const std::vector<int32_t>& experts,
               const RouterOptions& options) {
  Matrix out(logits.rows, options.chosen);
  for (int64_t i = 0; i < logits.rows; ++i) {
    double all = 0, chosen = 0;
    std::vector<double> scores;
    for (int64_t e = 0; e < logits.cols; ++e) {
      scores.push_back(options.score == Score::kSoftmax
                           ? std::exp(logits(i, e))
                           : 1 / (1 + std::exp(-logits(i, e))));
      all += scores.back();
    }
    for (int64_t s = 0; s < options.chosen; ++s) {
      const double score = scores[experts[i * options.chosen + s]];
      out(i, s) = options.score == Score::kSoftmax ? score / all : score;
      chosen += out(i, s);
    }
    for (int64_t s = 0; s < options.chosen; ++s) {
      out(i, s) *= options.scale / (options.normalise ? chosen : 1);
    }
  }
  return out;
}

TEST(RouteTest, WeightsAndGradientsAgreeWithTheOracle) {
  for (const Score score : {Score::kSoftmax, Score::kSigmoid}) {
    for (const bool normalise : {false, true}) {
      const RouterOptions options{
          .chosen = 3, .score = score, .normalise = normalise, .scale = 1.5};
      std::vector<int32_t> experts;
      CheckOp(
          {{4, 7}},
          [&](const auto& x) {
            const Routing routing = Route(x[0], options);
            experts = routing.experts;
            return routing.weights;
          },
          [&](const auto& x) { return Weights(x[0], experts, options); });
    }
  }
}

Routing RouteOne(const std::vector<float>& logits, const RouterOptions& options,
                 const std::vector<float>& bias = {}) {
  const auto count = static_cast<int64_t>(logits.size());
  return Route(Tensor::From({1, count}, logits), options,
               bias.empty() ? Tensor() : Tensor::From({count}, bias));
}

TEST(RouteTest, HighestScoresAreChosenAndEqualOnesByIndex) {
  EXPECT_THAT(RouteOne({0, 3, 1, 2}, {.chosen = 2}).experts, ElementsAre(1, 3));
  EXPECT_THAT(RouteOne({1, 1, 1, 1}, {.chosen = 2}).experts, ElementsAre(0, 1));
}

TEST(RouteTest, GroupsLimitTheChoice) {
  // The best of the second group is the best of all, its second the worst.
  const std::vector<float> logits = {2, 1.9f, 3, -5, 0, 0};
  RouterOptions options{.chosen = 2, .groups = 3, .groups_chosen = 1};
  EXPECT_THAT(RouteOne(logits, options).experts, ElementsAre(2, 3));
  options.group_best = 2;
  options.score = Score::kSigmoid;
  EXPECT_THAT(RouteOne(logits, options).experts, ElementsAre(0, 1));
}

TEST(RouteTest, BiasDecidesButDoesNotWeigh) {
  const RouterOptions options{.chosen = 1, .score = Score::kSigmoid};
  const Routing routing = RouteOne({0, 2}, options, {1, 0});
  EXPECT_THAT(routing.experts, ElementsAre(0));
  EXPECT_FLOAT_EQ(routing.weights.data()[0], 0.5f);
}

TEST(MixExpertsTest, AgreesWithTheOracle) {
  // Expert e squares the scale: rows of x times weight row e, element-wise.
  const Routing fixed{.experts = {0, 2, 1, 2, 0, 2}, .weights = {}};
  CheckOp(
      {{3, 5}, {3, 2}, {3, 5}},
      [&](const auto& x) {
        const Routing routing{.experts = fixed.experts, .weights = x[1]};
        return MixExperts(x[0], routing, 4, [&](int64_t e, const Tensor& rows) {
          const std::vector<int32_t> same(rows.dim(0), static_cast<int32_t>(e));
          return SwiGlu(rows, GatherRows(x[2], same));
        });
      },
      [&](const auto& x) {
        Matrix y(3, 5);
        for (int i = 0; i < 3; ++i) {
          for (int s = 0; s < 2; ++s) {
            const int e = fixed.experts[i * 2 + s];
            for (int j = 0; j < 5; ++j) {
              y(i, j) += x[1](i, s) *
                         oracle::Activate(x[0](i, j), Activation::kSilu) *
                         x[2](e, j);
            }
          }
        }
        return y;
      });
}

TEST(MixExpertsTest, RowsDoNotDependOnTheirNeighbours) {
  const std::vector<float> x = RandomFloats(4 * 6, Rng(1));
  const std::vector<float> logits = RandomFloats(4 * 5, Rng(2));
  const auto run = [&](int64_t first, int64_t rows) {
    const Routing routing = Route(
        Tensor::From({rows, 5}, std::span(logits).subspan(first * 5, rows * 5)),
        {.chosen = 3});
    return MixExperts(
        Tensor::From({rows, 6}, std::span(x).subspan(first * 6, rows * 6)),
        routing, 5, [](int64_t e, const Tensor& in) {
          return Scale(in, 1 + 0.1f * static_cast<float>(e));
        });
  };
  const Tensor all = run(0, 4);
  for (int64_t row = 0; row < 4; ++row) {
    const Tensor one = run(row, 1);
    EXPECT_EQ(std::memcmp(one.data(), all.data() + row * 6, 24), 0);
  }
}

}  // namespace
}  // namespace align
