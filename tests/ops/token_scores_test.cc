#include "align/ops/token_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "tests/support/op_check.h"

namespace align {
namespace {

void Check(int64_t n, int64_t d, int64_t vocab,
           const std::vector<ScoredToken>& tokens, const ScoreOptions& options,
           double tolerance = 2e-5, double soft_cap = 0) {
  CheckOp(
      {{n, d}, {vocab, d}},
      [&](const auto& x) {
        return ScoreTokens(x[0], LogitHead(x[1], soft_cap), tokens, options)
            .values;
      },
      [&](const auto& x) {
        return oracle::TokenScores(x[0], x[1], tokens, options.temperature,
                                   soft_cap, options.entropy);
      },
      tolerance);
}

const std::vector<ScoredToken> kTokens = {
    {.row = 0, .label = 2}, {.row = 2, .label = 0}, {.row = 2, .label = 6}};

TEST(TokenScoresTest, AgreesWithTheOracle) {
  Check(3, 5, 7, kTokens, {});
  Check(1, 1, 1, {{.row = 0, .label = 0}}, {.entropy = true});
  Check(3, 5, 7, kTokens, {.temperature = 0.7, .entropy = true});
  Check(3, 5, 19, kTokens, {.temperature = 1.3, .entropy = true}, 5e-5,
        /*soft_cap=*/2);
  Check(3, 5, 7, kTokens, {.entropy = true, .head_cache_mb = 0});
}

TEST(TokenScoresTest, LogitsOfThreeHundredStayExact) {
  const Tensor hidden = Tensor::From({1, 1}, std::vector<float>{1});
  const Tensor head = Tensor::From({3, 1}, std::vector<float>{300, -300, 299});
  const TokenScores scores = ScoreTokens(
      hidden, head, std::vector<ScoredToken>{{0, 0, 0}, {0, 1, 0}, {0, 2, 0}},
      {.entropy = true});
  const double lse = 300 + std::log1p(std::exp(-1.0));
  EXPECT_NEAR(scores.log_probs()[0], 300 - lse, 1e-4);
  EXPECT_NEAR(scores.log_probs()[1], -300 - lse, 1e-4);
  EXPECT_NEAR(scores.log_probs()[2], 299 - lse, 1e-4);
  EXPECT_GE(scores.entropies()[0], 0);
}

struct Large {
  static constexpr int64_t kRows = 40, kWidth = 24, kVocab = 9000;
  std::vector<float> hidden = RandomFloats(kRows * kWidth, Rng(1));
  std::vector<float> head = RandomFloats(kVocab * kWidth, Rng(2), 0.3);
  std::vector<float> dhidden = std::vector<float>(hidden.size());
  std::vector<float> dhead = std::vector<float>(head.size());
  std::vector<ScoredToken> tokens;

  Large() {
    for (int32_t i = 0; i < kRows; ++i) {
      tokens.push_back({.row = i, .label = i * 223 % 9000});
    }
  }
  TokenScores Score(const ScoreOptions& options) {
    return ScoreTokens(Tensor::Leaf({kRows, kWidth}, hidden, dhidden),
                       Tensor::Leaf({kVocab, kWidth}, head, dhead), tokens,
                       options);
  }
};

TEST(TokenScoresTest, RecomputedLogitsGiveTheBitsOfCachedOnes) {
  Large cached, recomputed;
  const std::vector<float> seeds = RandomFloats(2 * Large::kRows, Rng(3));
  Backward(cached.Score({.entropy = true}).values, seeds);
  Backward(recomputed.Score({.entropy = true, .head_cache_mb = 0}).values,
           seeds);
  EXPECT_EQ(cached.dhidden, recomputed.dhidden);
  EXPECT_EQ(cached.dhead, recomputed.dhead);
}

TEST(TokenScoresTest, SamplersLogitsGiveTheScorersBits) {
  Large large;
  for (double temperature : {1.0, 0.7}) {
    const TokenScores scores = large.Score({.temperature = temperature});
    const TokenScores with_more = large.Score(
        {.temperature = temperature, .entropy = true, .statistics = true});
    for (int32_t row : {0, 17, 39}) {
      const HeadLogits logits = ComputeHeadLogits(
          Tensor::From({1, Large::kWidth},
                       std::span(large.hidden)
                           .subspan(row * Large::kWidth, Large::kWidth)),
          Tensor::Leaf({Large::kVocab, Large::kWidth}, large.head),
          temperature);
      const float log_prob = LogProb(
          logits.logits.data()[large.tokens[row].label], logits.log_sum_exp[0]);
      EXPECT_EQ(log_prob, scores.log_probs()[row]);
      EXPECT_EQ(log_prob, with_more.log_probs()[row]);
    }
  }
}

TEST(TokenScoresTest, StatisticsDescribeTheDistribution) {
  const Tensor hidden = Tensor::From({1, 1}, std::vector<float>{1});
  const Tensor head =
      Tensor::From({2, 1}, std::vector<float>{0, std::log(3.0f)});
  const TokenScores scores =
      ScoreTokens(hidden, head, std::vector<ScoredToken>{{0, 0, 0}, {0, 1, 0}},
                  {.statistics = true});
  EXPECT_NEAR(scores.statistics.mean_logit[0], std::log(3.0) / 2, 1e-6);
  EXPECT_NEAR(scores.statistics.sum_squares[0], 1 / 16.0 + 9 / 16.0, 1e-6);
  EXPECT_EQ(scores.statistics.label_is_argmax, (std::vector<uint8_t>{0, 1}));
}

TEST(TokenScoresTest, NothingScoredIsFine) {
  Large large;
  large.tokens.clear();
  EXPECT_EQ(large.Score({}).log_probs().size(), 0u);
}

}  // namespace
}  // namespace align
