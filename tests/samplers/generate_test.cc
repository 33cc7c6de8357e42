#include "samplers/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "align/base/threads.h"
#include "align/dnnl/matmul.h"
#include "align/dnnl/packed_matrix.h"
#include "align/ops/packed_batch.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "tests/support/tiny_model.h"

namespace align::samplers {
namespace {

using ::testing::HasSubstr;

std::vector<std::vector<int32_t>> Prompts(int count) {
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < count; ++i) {
    prompts.push_back(RandomTokens(3 + i % 5, Rng(50 + i)));
  }
  return prompts;
}

bool Same(const Completion& a, const Completion& b) {
  return a.tokens == b.tokens && a.log_probs == b.log_probs &&
         a.stopped == b.stopped;
}

// Whether the log-probs of `samples` replies to each prompt are, to the bit,
// those that one forward over all of them gives.
bool EqualTheScorers(const Model& model,
                     const std::vector<std::vector<int32_t>>& prompts,
                     int samples, const std::vector<Completion>& replies,
                     double temperature) {
  PackedBatch batch;
  std::vector<float> sampled;
  for (size_t p = 0; p < prompts.size(); ++p) {
    const int32_t prefix = batch.AppendPrompt(prompts[p]);
    for (int k = 0; k < samples; ++k) {
      const Completion& reply = replies[p * samples + k];
      batch.AppendCompletion(prefix, reply.tokens);
      sampled.insert(sampled.end(), reply.log_probs.begin(),
                     reply.log_probs.end());
    }
  }
  const NoGrad no_grad;
  const TokenScores scores =
      ScoreTokens(model.Hidden(batch.tokens, batch.segments), model.Head(),
                  batch.scored, {.temperature = temperature});
  return std::ranges::equal(sampled, scores.log_probs());
}

TEST(GenerateTest, LogProbsEqualTheScorersToTheBit) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto model = TinyModel();
  const auto prompts = Prompts(7);
  for (double temperature : {1.0, 0.7}) {
    const auto replies = *Generate(
        *model, prompts, 3,
        {.max_new_tokens = 20, .temperature = temperature, .stop_ids = {5}},
        Rng(3));
    EXPECT_TRUE(EqualTheScorers(*model, prompts, 3, replies, temperature));
  }
}

// Large enough for threads to share every step, by few rows and by many.
TEST(GenerateTest, ATeamsLogProbsEqualTheScorersToTheBit) {
  ModelConfig config = TinyConfig();
  config.hidden_size = 576;
  config.intermediate_size = 1536;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 9;
  config.num_key_value_heads = 3;
  config.head_dim = 64;
  const auto model = *CreateModel(config, Rng(1));
  const int before = Threads();
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    if (!PackedRowsExact(precision)) continue;
    model->params().SetPrecision(precision);
    for (const int samples : {1, 6}) {
      const auto prompts = Prompts(2);
      std::vector<std::vector<Completion>> runs;
      for (const int threads : {1, 2}) {
        SetThreads(threads);
        runs.push_back(*Generate(*model, prompts, samples,
                                 {.max_new_tokens = 24}, Rng(3)));
        EXPECT_TRUE(EqualTheScorers(*model, prompts, samples, runs.back(), 1));
      }
      EXPECT_TRUE(std::ranges::equal(runs[0], runs[1], Same));
    }
  }
  SetThreads(before);
}

TEST(GenerateTest, ARepliesDependsOnItsPromptAndStreamAlone) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto model = TinyModel();
  const auto prompts = Prompts(6);
  SamplingOptions options{.max_new_tokens = 12, .stop_ids = {5, 6}};
  const auto all = *Generate(*model, prompts, 4, options, Rng(3));
  for (int threads : {1, 2, 3}) {
    SetThreads(threads);
    for (int64_t rows : {1, 2, 5, 64}) {
      options.max_rows = rows;
      const auto again = *Generate(*model, prompts, 4, options, Rng(3));
      EXPECT_TRUE(std::ranges::equal(all, again, Same))
          << threads << " threads, " << rows << " rows";
    }
  }
  SetThreads(1);
  // Two of the prompts alone, in another order, fewer samples.
  const std::vector<std::vector<int32_t>> some = {prompts[4], prompts[1]};
  const std::vector<uint64_t> ids = {4, 1};
  const auto part = *Generate(*model, some, 2, options, Rng(3), ids);
  EXPECT_TRUE(Same(part[0], all[16]) && Same(part[1], all[17]));
  EXPECT_TRUE(Same(part[2], all[4]) && Same(part[3], all[5]));
}

TEST(GenerateTest, RepliesStopAtStopIdsAndAtTheLimit) {
  const auto model = TinyModel();
  const auto replies = *Generate(
      *model, Prompts(5), 8, {.max_new_tokens = 9, .stop_ids = {7, 8}}, Rng(1));
  int stopped = 0;
  for (const Completion& reply : replies) {
    ASSERT_FALSE(reply.tokens.empty());
    const int32_t last = reply.tokens.back();
    EXPECT_EQ(reply.stopped, last == 7 || last == 8);
    if (!reply.stopped) EXPECT_EQ(reply.tokens.size(), 9u);
    for (size_t i = 0; i + 1 < reply.tokens.size(); ++i) {
      EXPECT_TRUE(reply.tokens[i] != 7 && reply.tokens[i] != 8);
    }
    stopped += reply.stopped;
  }
  EXPECT_GT(stopped, 0);
  EXPECT_LT(stopped, 40);
}

TEST(GenerateTest, GreedyTakesTheLargestLogitOfAFullForward) {
  const auto model = TinyModel();
  const auto prompts = Prompts(2);
  const auto replies = *Generate(
      *model, prompts, 1, {.max_new_tokens = 8, .temperature = 0}, Rng(1));
  for (size_t p = 0; p < prompts.size(); ++p) {
    std::vector<int32_t> tokens = prompts[p];
    for (int32_t expected : replies[p].tokens) {
      Segments segments;
      segments.Append(static_cast<int64_t>(tokens.size()));
      const HeadLogits head =
          ComputeHeadLogits(model->Hidden(tokens, segments), model->Head(), 1);
      const float* last = head.logits.data() + (tokens.size() - 1) * 61;
      EXPECT_EQ(std::max_element(last, last + 61) - last, expected);
      tokens.push_back(expected);
    }
  }
}

// Greedy replies part only where two logits tie to rounding, and tokens are as
// likely within what model_cache_test.cc derives for the rows.
TEST(GenerateTest, AnAbsorbedCacheGivesTheSameReplies) {
  for (const Family family : {Family::kDeepseekV2, Family::kDeepseekV3}) {
    const auto model = TinyModel(family);
    SamplingOptions options{.max_new_tokens = 24, .temperature = 0};
    const auto exact = *Generate(*model, Prompts(5), 1, options, Rng(1));
    options.cache_mode = CacheMode::kAbsorbed;
    const auto absorbed = *Generate(*model, Prompts(5), 1, options, Rng(1));
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_EQ(exact[i].tokens, absorbed[i].tokens);
      EXPECT_THAT(absorbed[i].log_probs,
                  ::testing::Pointwise(::testing::FloatNear(2e-4f),
                                       exact[i].log_probs));
    }
  }
}

TEST(GenerateTest, BadInputIsRefusedByName) {
  const auto model = TinyModel();
  const auto status = [&](std::vector<int32_t> prompt, SamplingOptions o) {
    const std::vector<std::vector<int32_t>> prompts = {std::move(prompt)};
    return Message(Generate(*model, prompts, 1, o, Rng(1)).status());
  };
  EXPECT_THAT(status({}, {}), HasSubstr("prompt 0: empty"));
  EXPECT_THAT(status({61}, {}), HasSubstr("token id 61"));
  EXPECT_THAT(status({1}, {.max_new_tokens = 128}), HasSubstr("128 positions"));
  EXPECT_THAT(status({1}, {.temperature = -1}), HasSubstr("temperature"));
  EXPECT_THAT(status({1}, {.logits = {.top_p = 0}}), HasSubstr("top_p"));
  EXPECT_THAT(status({1}, {.stop_ids = {99}}), HasSubstr("stop id 99"));
  EXPECT_THAT(status({1}, {.cache_mode = CacheMode::kAbsorbed}),
              HasSubstr("no latent attention"));
}

TEST(GenerateTest, StopsWhenAsked) {
  const auto model = TinyModel();
  const auto result =
      Generate(*model, Prompts(3), 1, {}, Rng(1), {}, [] { return true; });
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
}

double LogSumExp(const std::vector<float>& z) {
  double sum = 0;
  for (float x : z) sum += std::exp(static_cast<double>(x));
  return std::log(sum);
}

TEST(SampleTokenTest, FrequenciesAreTheProbabilities) {
  const std::vector<float> z = {0, 1, -1, 2, 0.5f};
  const double lse = LogSumExp(z);
  std::vector<double> counts(5, 0);
  constexpr int kDraws = 50000;
  for (int i = 0; i < kDraws; ++i) {
    ++counts[SampleToken(z, lse, {}, (i + 0.5) / kDraws)];
  }
  for (int v = 0; v < 5; ++v) {
    EXPECT_NEAR(counts[v] / kDraws, std::exp(z[v] - lse), 1e-4);
  }
}

TEST(SampleTokenTest, OnlyWhatTheProcessorsLeaveIsDrawn) {
  const std::vector<float> z = {1, 3, 2, 3, 0};
  const double lse = LogSumExp(z);
  const std::vector<int32_t> context = {1, 2, 3, 1};
  const auto drawn = [&](const SamplingOptions& options) {
    std::vector<double> shares(5, 0);
    for (int i = 0; i < 1000; ++i) {
      shares[SampleToken(z, lse, options, (i + 0.5) / 1000, context)] += 1e-3;
    }
    return shares;
  };
  const auto near = [](std::vector<double> shares) {
    return ::testing::Pointwise(::testing::DoubleNear(2e-3), shares);
  };
  const double e = std::exp(1.0);
  EXPECT_THAT(drawn({.logits = {.top_k = 1}}), near({0, 0.5, 0, 0.5, 0}));
  EXPECT_THAT(drawn({.logits = {.top_p = 0.3}}), near({0, 1, 0, 0, 0}));
  EXPECT_THAT(drawn({.logits = {.top_k = 3}}),
              near({0, e / (2 * e + 1), 1 / (2 * e + 1), e / (2 * e + 1), 0}));
  // After 1 came 2.
  EXPECT_THAT(drawn({.logits = {.no_repeat_ngram_size = 2, .top_k = 3}}),
              near({1 / (1 + 2 * e * e), e * e / (1 + 2 * e * e), 0,
                    e * e / (1 + 2 * e * e), 0}));
  EXPECT_THAT(drawn({.temperature = 0}), near({0, 1, 0, 0, 0}));
  EXPECT_THAT(drawn({.temperature = 0, .logits = {.repetition_penalty = 3.5}}),
              near({1, 0, 0, 0, 0}));
}

// The scorer knows nothing of the processors, and PPO's ratios need its
// numbers.
TEST(GenerateTest, ProcessorsLeaveTheLogProbsUnfiltered) {
  const auto model = TinyModel();
  const auto prompts = Prompts(4);
  SamplingOptions options{.max_new_tokens = 12, .temperature = 0.8};
  options.logits = {.repetition_penalty = 1.2,
                    .no_repeat_ngram_size = 2,
                    .top_k = 20,
                    .top_p = 0.95,
                    .min_p = 0.01,
                    .typical_p = 0.98,
                    .epsilon_cutoff = 1e-3};
  const auto replies = *Generate(*model, prompts, 2, options, Rng(3));
  for (size_t i = 0; i < replies.size(); ++i) {
    std::vector<int32_t> text = prompts[i / 2];
    text.insert(text.end(), replies[i].tokens.begin(), replies[i].tokens.end());
    PackedBatch batch;
    batch.AppendCompletion(batch.AppendPrompt(prompts[i / 2]),
                           replies[i].tokens);
    const NoGrad no_grad;
    const TokenScores scores =
        ScoreTokens(model->Hidden(batch.tokens, batch.segments), model->Head(),
                    batch.scored, {.temperature = 0.8});
    EXPECT_THAT(
        replies[i].log_probs,
        ::testing::Pointwise(::testing::FloatNear(1e-5), scores.log_probs()));
    // Nor does a pair of tokens come twice once the reply has begun.
    const size_t start = prompts[i / 2].size();
    for (size_t t = start; t < text.size(); ++t) {
      for (size_t u = 1; u < t; ++u) {
        EXPECT_FALSE(text[u] == text[t] && text[u - 1] == text[t - 1])
            << "reply " << i << " at " << t;
      }
    }
  }
}

// Replies of the first models' mixture, one model a weight.
std::vector<Completion> FromBoth(const Model& a, const Model& b,
                                 std::vector<double> weights,
                                 const SamplingOptions& options) {
  const Model* const models[] = {&a, &b};
  const auto replies = GenerateCombined(std::span(models).first(weights.size()),
                                        GeometricMixture(weights), Prompts(5),
                                        3, options, Rng(3));
  ALIGN_CHECK(replies.ok()) << replies.status().ToString();
  return *replies;
}

TEST(GenerateCombinedTest, AMixtureOfOneModelIsThatModelToTheBit) {
  const auto a = TinyModel(1), b = TinyModel(2);
  for (double temperature : {0.0, 0.7, 1.0}) {
    const SamplingOptions options = {
        .max_new_tokens = 12, .temperature = temperature, .stop_ids = {5}};
    const auto of_a = *Generate(*a, Prompts(5), 3, options, Rng(3));
    const auto of_b = *Generate(*b, Prompts(5), 3, options, Rng(3));
    for (const std::vector<double>& weights :
         {std::vector<double>{1}, {1, 0}}) {
      EXPECT_TRUE(
          std::ranges::equal(of_a, FromBoth(*a, *b, weights, options), Same));
    }
    EXPECT_TRUE(
        std::ranges::equal(of_b, FromBoth(*a, *b, {0, 1}, options), Same));
    EXPECT_FALSE(std::ranges::equal(of_a, of_b, Same));
  }
}

// The scaled logits of what follows `tokens`.
std::vector<float> NextLogits(const Model& model,
                              const std::vector<int32_t>& tokens,
                              double temperature) {
  Segments segments;
  segments.Append(static_cast<int64_t>(tokens.size()));
  const NoGrad no_grad;
  const HeadLogits head = ComputeHeadLogits(model.Hidden(tokens, segments),
                                            model.Head(), temperature);
  const auto all = head.logits.values();
  return {all.end() - 61, all.end()};
}

TEST(GenerateCombinedTest, LogProbsAreOfTheNormalisedProductOfPowers) {
  const auto a = TinyModel(1), b = TinyModel(2);
  const SamplingOptions options = {.max_new_tokens = 6, .temperature = 0.8};
  const auto replies = FromBoth(*a, *b, {0.7, 0.3}, options);
  for (size_t p = 0; p < 5; ++p) {
    std::vector<int32_t> tokens = Prompts(5)[p];
    const Completion& reply = replies[3 * p];
    for (size_t t = 0; t < reply.tokens.size(); ++t) {
      const auto of_a = NextLogits(*a, tokens, 0.8);
      const auto of_b = NextLogits(*b, tokens, 0.8);
      double sum = 0;
      const auto mixed = [&](size_t v) {
        return 0.7 * of_a[v] + 0.3 * of_b[v];
      };
      for (size_t v = 0; v < 61; ++v) sum += std::exp(mixed(v));
      // Logits are f32 of size 100.
      EXPECT_NEAR(reply.log_probs[t], mixed(reply.tokens[t]) - std::log(sum),
                  1e-4);
      tokens.push_back(reply.tokens[t]);
    }
  }
}

TEST(GenerateCombinedTest, AReplyDependsOnItsPromptAndStreamAlone) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto a = TinyModel(1), b = TinyModel(2);
  SamplingOptions options{.max_new_tokens = 10, .stop_ids = {5, 6}};
  const auto all = FromBoth(*a, *b, {0.5, 0.5}, options);
  for (int threads : {1, 3}) {
    SetThreads(threads);
    for (int64_t rows : {1, 5}) {
      options.max_rows = rows;
      EXPECT_TRUE(
          std::ranges::equal(all, FromBoth(*a, *b, {0.5, 0.5}, options), Same));
    }
  }
  SetThreads(1);
}

TEST(GenerateCombinedTest, RefusesOtherVocabulariesAndClassifiers) {
  const auto a = TinyModel(1), scorer = TinyModel(1, false, true);
  const auto odd = *CreateModel(OddConfig(), Rng(1));
  const auto message = [&](const Model& other) {
    const Model* const models[] = {a.get(), &other};
    return Message(GenerateCombined(models, GeometricMixture({0.5, 0.5}),
                                    Prompts(1), 1, {}, Rng(1))
                       .status());
  };
  EXPECT_THAT(message(*odd), HasSubstr("vocabularies of 61 and 7 ids"));
  EXPECT_THAT(message(*scorer), HasSubstr("needs a language model"));
}

}  // namespace
}  // namespace align::samplers
