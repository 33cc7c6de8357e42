#include "align/ops/token_divergence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "align/base/threads.h"
#include "losses/jsd.h"
#include "losses/log_softmax.h"
#include "tests/support/op_check.h"

namespace align {
namespace {

// hidden head^T, soft-capped, over the temperature: one row.
Eigen::ArrayXd ScaledLogits(const oracle::Matrix& hidden, int64_t row,
                            const oracle::Matrix& head, double temperature,
                            double soft_cap) {
  Eigen::ArrayXd z = Eigen::ArrayXd::Zero(head.rows);
  for (int64_t v = 0; v < head.rows; ++v) {
    for (int64_t d = 0; d < head.cols; ++d) z[v] += hidden(row, d) * head(v, d);
    if (soft_cap > 0) z[v] = soft_cap * std::tanh(z[v] / soft_cap);
  }
  return z / temperature;
}

struct Caps {
  double student = 0, teacher = 0;
};

// Of the student's hidden rows and head; the teacher's are three wide.
void Check(int64_t n, int64_t d, int64_t vocab,
           const std::vector<ScoredToken>& tokens,
           const DivergenceOptions& options, double tolerance = 2e-5,
           Caps caps = {}) {
  const std::vector<float> hidden = RandomFloats(n * 3, Rng(7));
  const std::vector<float> head = RandomFloats(vocab * 3, Rng(8));
  const oracle::Matrix exact_hidden = ToMatrix({n, 3}, hidden);
  const oracle::Matrix exact_head = ToMatrix({vocab, 3}, head);
  const HeadInput teacher = {
      Tensor::From({n, 3}, hidden),
      LogitHead(Tensor::From({vocab, 3}, head), caps.teacher)};
  CheckOp(
      {{n, d}, {vocab, d}},
      [&](const auto& x) {
        return TokenDivergence({x[0], LogitHead(x[1], caps.student)}, teacher,
                               tokens, options);
      },
      [&](const auto& x) {
        oracle::Matrix out(1, static_cast<int64_t>(tokens.size()));
        for (size_t i = 0; i < tokens.size(); ++i) {
          const Eigen::ArrayXXd student =
              losses::LogSoftmax(ScaledLogits(x[0], tokens[i].row, x[1],
                                              options.temperature,
                                              caps.student))
                  .transpose();
          const Eigen::ArrayXXd target =
              losses::LogSoftmax(ScaledLogits(exact_hidden, tokens[i].row,
                                              exact_head, options.temperature,
                                              caps.teacher))
                  .transpose();
          out.v[i] =
              losses::GeneralizedJsd(student, target, {.beta = options.beta})
                  .loss[0];
        }
        return out;
      },
      tolerance);
}

const std::vector<ScoredToken> kTokens = {{.row = 0}, {.row = 2}, {.row = 2}};

TEST(TokenDivergenceTest, AgreesWithTheLossAndItsFiniteDifferences) {
  for (const double beta : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    SCOPED_TRACE(beta);
    Check(3, 5, 7, kTokens, {.beta = beta});
    Check(1, 1, 1, {{.row = 0}}, {.beta = beta});
    Check(3, 5, 19, kTokens, {.beta = beta, .temperature = 0.7}, 5e-5);
    Check(3, 5, 16, kTokens, {.beta = beta, .temperature = 1.3}, 5e-5,
          {.student = 2, .teacher = 3});
    Check(3, 5, 7, kTokens, {.beta = beta, .head_cache_mb = 0});
  }
}

// Three chunks of the vocabulary; the teacher is wider than the student.
struct Large {
  static constexpr int64_t kRows = 40, kWidth = 24, kTeacherWidth = 32;
  static constexpr int64_t kVocab = 9000;
  std::vector<float> hidden = RandomFloats(kRows * kWidth, Rng(1));
  std::vector<float> head = RandomFloats(kVocab * kWidth, Rng(2), 0.3);
  std::vector<float> teacher_hidden =
      RandomFloats(kRows * kTeacherWidth, Rng(3));
  std::vector<float> teacher_head =
      RandomFloats(kVocab * kTeacherWidth, Rng(4), 0.3);
  std::vector<float> dhidden = std::vector<float>(hidden.size());
  std::vector<float> dhead = std::vector<float>(head.size());
  std::vector<ScoredToken> tokens;

  Large() {
    for (int32_t i = 0; i < kRows; ++i) tokens.push_back({.row = i});
  }
  HeadInput student() {
    return {Tensor::Leaf({kRows, kWidth}, hidden, dhidden),
            Tensor::Leaf({kVocab, kWidth}, head, dhead)};
  }
  HeadInput teacher() {
    return {Tensor::From({kRows, kTeacherWidth}, teacher_hidden),
            Tensor::From({kVocab, kTeacherWidth}, teacher_head)};
  }
  Tensor Score(const DivergenceOptions& options) {
    return TokenDivergence(student(), teacher(), tokens, options);
  }
};

Eigen::ArrayXXd LogProbs(const HeadInput& input, double temperature) {
  const HeadLogits logits =
      ComputeHeadLogits(input.hidden, input.head, temperature);
  const auto rows = static_cast<Eigen::Index>(logits.logits.dim(0));
  const auto vocab = static_cast<Eigen::Index>(logits.logits.dim(1));
  Eigen::ArrayXXd out(rows, vocab);
  for (Eigen::Index i = 0; i < rows; ++i) {
    out.row(i) = losses::LogSoftmax(Eigen::Map<const Eigen::ArrayXf>(
                                        logits.logits.data() + i * vocab, vocab)
                                        .cast<double>())
                     .transpose();
  }
  return out;
}

// The composed twin: whole rows of logits, the loss on them, two products.
TEST(TokenDivergenceTest, AgreesWithItsComposedTwinOverSeveralChunks) {
  for (const double beta : {0.0, 0.3, 1.0}) {
    SCOPED_TRACE(beta);
    Large large;
    const double temperature = 1.7;
    const Tensor values =
        large.Score({.beta = beta, .temperature = temperature});
    const losses::JsdResult twin = losses::GeneralizedJsd(
        LogProbs(large.student(), temperature),
        LogProbs(large.teacher(), temperature), {.beta = beta});
    for (int64_t i = 0; i < Large::kRows; ++i) {
      ASSERT_NEAR(values.data()[i], twin.loss[i], 2e-5) << i;
    }
    const std::vector<float> seeds(Large::kRows, 1.0f);
    Backward(values, seeds);
    using Rows =
        Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::MatrixXd head =
        Eigen::Map<const Rows>(large.head.data(), Large::kVocab, Large::kWidth)
            .cast<double>();
    const Eigen::MatrixXd hidden =
        Eigen::Map<const Rows>(large.hidden.data(), Large::kRows, Large::kWidth)
            .cast<double>();
    const Eigen::MatrixXd dz = twin.d_logits.matrix() / temperature;
    const Eigen::MatrixXd dhidden = dz * head, dhead = dz.transpose() * hidden;
    for (int64_t i = 0; i < Large::kRows; ++i) {
      for (int64_t j = 0; j < Large::kWidth; ++j) {
        ASSERT_NEAR(large.dhidden[i * Large::kWidth + j], dhidden(i, j), 2e-5);
      }
    }
    for (int64_t v = 0; v < Large::kVocab; ++v) {
      for (int64_t j = 0; j < Large::kWidth; ++j) {
        ASSERT_NEAR(large.dhead[v * Large::kWidth + j], dhead(v, j), 2e-5);
      }
    }
  }
}

TEST(TokenDivergenceTest, RecomputedLogitsGiveTheBitsOfKeptOnes) {
  Large kept, recomputed;
  const std::vector<float> seeds = RandomFloats(Large::kRows, Rng(5));
  const Tensor a = kept.Score({}), b = recomputed.Score({.head_cache_mb = 0});
  EXPECT_TRUE(std::ranges::equal(a.values(), b.values()));
  Backward(a, seeds);
  Backward(b, seeds);
  EXPECT_EQ(kept.dhidden, recomputed.dhidden);
  EXPECT_EQ(kept.dhead, recomputed.dhead);
}

TEST(TokenDivergenceTest, ARowsBitsDependOnNothingElse) {
  Large all, some;
  const int threads = Threads();
  SetThreads(2);
  const Tensor whole = all.Score({.beta = 0.3});
  SetThreads(1);
  const std::vector<int32_t> chosen = {31, 4, 4, 17};
  some.tokens.clear();
  for (const int32_t row : chosen) some.tokens.push_back({.row = row});
  const Tensor part = some.Score({.beta = 0.3});
  SetThreads(threads);
  for (size_t i = 0; i < chosen.size(); ++i) {
    EXPECT_EQ(part.data()[i], whole.data()[chosen[i]]) << i;
  }
}

TEST(TokenDivergenceTest, IsNothingBetweenEqualsAndFiniteFarApart) {
  Large large;
  for (const double beta : {0.0, 0.5, 1.0}) {
    const Tensor same = TokenDivergence(large.student(), large.student(),
                                        large.tokens, {.beta = beta});
    for (const float value : same.values()) EXPECT_NEAR(value, 0, 1e-6);
  }
  // Logits that are certain of different labels: ln 2 between, and 600 apart.
  const Tensor hidden = Tensor::From({1, 1}, std::vector<float>{1});
  const HeadInput a = {hidden,
                       Tensor::From({2, 1}, std::vector<float>{300, -300})};
  const HeadInput b = {hidden,
                       Tensor::From({2, 1}, std::vector<float>{-300, 300})};
  const std::vector<ScoredToken> token = {{.row = 0}};
  EXPECT_NEAR(TokenDivergence(a, b, token).data()[0], std::log(2.0), 1e-6);
  EXPECT_EQ(TokenDivergence(a, b, token, {.beta = 0}).data()[0], 600);
  EXPECT_EQ(TokenDivergence(a, b, token, {.beta = 1}).data()[0], 600);
}

TEST(TokenDivergenceTest, WhatIsNotANumberStaysVisible) {
  const Tensor hidden = Tensor::From({1, 1}, std::vector<float>{1});
  const HeadInput good = {hidden,
                          Tensor::From({2, 1}, std::vector<float>{1, 2})};
  const HeadInput bad = {
      hidden, Tensor::From({2, 1}, std::vector<float>{1, std::nanf("")})};
  const std::vector<ScoredToken> token = {{.row = 0}};
  for (const double beta : {0.0, 0.5, 1.0}) {
    EXPECT_TRUE(std::isnan(
        TokenDivergence(good, bad, token, {.beta = beta}).data()[0]));
    EXPECT_TRUE(std::isnan(
        TokenDivergence(bad, good, token, {.beta = beta}).data()[0]));
  }
}

TEST(TokenDivergenceTest, NothingScoredIsFine) {
  Large large;
  large.tokens.clear();
  EXPECT_EQ(large.Score({}).size(), 0);
}

}  // namespace
}  // namespace align
