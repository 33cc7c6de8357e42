#include <gtest/gtest.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "align/base/precision.h"
#include "align/base/threads.h"
#include "align/dnnl/matmul.h"
#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "samplers/generate.h"

namespace align::samplers {
namespace {

std::string Stories() {
  return std::string(ALIGN_SHARED_DIR) + "/models/stories260k";
}

TEST(GenerateStoriesTest, GreedyTokensEqualTheReference) {
  const auto model = LoadModel(Stories());
  ASSERT_TRUE(model.ok()) << model.status();
  simdjson::dom::parser parser;
  for (simdjson::dom::element text :
       parser.load(Stories() + "/reference_logits.json").get_array()) {
    std::vector<int32_t> ids, expected;
    for (int64_t id : text["ids"].get_array()) ids.push_back(id);
    for (auto [key, value] : text.get_object()) {
      if (key.find("greedy") == std::string_view::npos) continue;
      for (int64_t id : value.get_array()) expected.push_back(id);
    }
    ASSERT_EQ(expected.size(), 64u);
    const std::vector<std::vector<int32_t>> prompts = {ids};
    const auto reply = Generate(
        **model, prompts, 1, {.max_new_tokens = 64, .temperature = 0}, Rng(1));
    ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ((*reply)[0].tokens, expected);
  }
}

// Stories of up to 200 tokens. Nine tokens of ten are within 2e-2 nats; bf16
// has 8 bits of mantissa, and five layers of it move the others further.
TEST(GenerateStoriesTest, TokenLogProbsInBf16AreNearThoseInF32) {
  const auto model = LoadModel(Stories());
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<std::vector<int32_t>> prompts = {{1}, {1, 403}, {1, 407}};
  const auto stories = Generate(
      **model, prompts, 4,
      {.max_new_tokens = 200, .temperature = 0.7, .stop_ids = {1, 2}}, Rng(3));
  ASSERT_TRUE(stories.ok()) << stories.status();
  PackedBatch batch;
  for (size_t i = 0; i < stories->size(); ++i) {
    batch.AppendCompletion(batch.AppendPrompt(prompts[i / 4]),
                           (*stories)[i].tokens);
  }
  const NoGrad no_grad;
  const auto score = [&](Precision precision) {
    (*model)->params().SetPrecision(precision);
    const TokenScores scores =
        ScoreTokens((*model)->Hidden(batch.tokens, batch.segments),
                    (*model)->Head(), batch.scored);
    return std::vector<float>(scores.log_probs().begin(),
                              scores.log_probs().end());
  };
  const std::vector<float> f32 = score(Precision::kF32);
  const std::vector<float> bf16 = score(Precision::kBf16);
  EXPECT_GT(f32.size(), 1000u);
  EXPECT_NE(f32, bf16);
  double sum = 0, most = 0, near = 0;
  for (size_t i = 0; i < f32.size(); ++i) {
    const double error = std::abs(double{f32[i]} - bf16[i]);
    sum += error;
    most = std::max(most, error);
    near += error < 2e-2 ? 1 : 0;
  }
  const auto count = static_cast<double>(f32.size());
  EXPECT_LT(sum / count, 1e-2);
  EXPECT_GT(near / count, 0.9);
  EXPECT_LT(most, 0.1);
}

class GenerateStoriesInTest : public ::testing::TestWithParam<Precision> {};

INSTANTIATE_TEST_SUITE_P(Precisions, GenerateStoriesInTest,
                         ::testing::Values(Precision::kF32, Precision::kBf16),
                         [](const auto& info) {
                           return info.param == Precision::kF32 ? "f32"
                                                                : "bf16";
                         });

// Two hundred completions, sampled together and scored one at a time, all at
// once, and without sharing their prompts.
TEST_P(GenerateStoriesInTest, TwoHundredCompletionsScoreToTheBit) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto model = LoadModel(Stories());
  ASSERT_TRUE(model.ok()) << model.status();
  (*model)->params().SetPrecision(GetParam());
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < 25; ++i) {
    prompts.push_back({1});
    Rng rng = Rng(7).Fork(i);
    for (int t = 0; t < 3 + i; ++t) prompts.back().push_back(rng.Below(512));
  }
  const auto replies = Generate(
      **model, prompts, 8,
      {.max_new_tokens = 48, .temperature = 0.9, .stop_ids = {1, 2}}, Rng(11));
  ASSERT_TRUE(replies.ok()) << replies.status();
  PackedBatch shared, separate;
  std::vector<float> sampled;
  for (size_t i = 0; i < replies->size(); ++i) {
    const Completion& reply = (*replies)[i];
    sampled.insert(sampled.end(), reply.log_probs.begin(),
                   reply.log_probs.end());
    separate.AppendCompletion(separate.AppendPrompt(prompts[i / 8]),
                              reply.tokens);
  }
  for (size_t p = 0; p < prompts.size(); ++p) {
    const int32_t prefix = shared.AppendPrompt(prompts[p]);
    for (int k = 0; k < 8; ++k) {
      shared.AppendCompletion(prefix, (*replies)[p * 8 + k].tokens);
    }
  }
  const NoGrad no_grad;
  const auto score = [&](const PackedBatch& batch) {
    const TokenScores scores =
        ScoreTokens((*model)->Hidden(batch.tokens, batch.segments),
                    (*model)->Head(), batch.scored, {.temperature = 0.9});
    return std::vector<float>(scores.log_probs().begin(),
                              scores.log_probs().end());
  };
  EXPECT_EQ(sampled, score(shared));
  EXPECT_EQ(sampled, score(separate));
  SetThreads(2);
  EXPECT_EQ(sampled, score(shared));
  SetThreads(1);
  std::vector<float> alone;
  for (size_t i = 0; i < replies->size(); ++i) {
    PackedBatch one;
    one.AppendCompletion(one.AppendPrompt(prompts[i / 8]),
                         (*replies)[i].tokens);
    const std::vector<float> scores = score(one);
    alone.insert(alone.end(), scores.begin(), scores.end());
  }
  EXPECT_EQ(sampled, alone);
}

}  // namespace
}  // namespace align::samplers
