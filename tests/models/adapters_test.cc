// Adapters on models of every family.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "align/dnnl/matmul.h"
#include "align/ops/packed_batch.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "tests/support/tiny_adapters.h"

namespace align {
namespace {

using ::testing::HasSubstr;

PackedBatch Batch() {
  PackedBatch batch;
  const int32_t prompt = batch.AppendPrompt(RandomTokens(9, Rng(1)));
  batch.AppendCompletion(prompt, RandomTokens(5, Rng(2)));
  batch.AppendCompletion(prompt, RandomTokens(7, Rng(3)));
  return batch;
}

TokenScores Score(const Model& model, const PackedBatch& batch) {
  return ScoreTokens(model.Hidden(batch.tokens, batch.segments), model.Head(),
                     batch.scored);
}

std::vector<float> Scores(const Model& model) {
  const NoGrad no_grad;
  const TokenScores scores = Score(model, Batch());
  return {scores.log_probs().begin(), scores.log_probs().end()};
}

float LargestDifference(const std::vector<float>& a,
                        const std::vector<float>& b) {
  float most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - b.at(i)));
  }
  return most;
}

class AdaptersTest
    : public ::testing::TestWithParam<std::tuple<Family, LoraOptions>> {
 protected:
  std::unique_ptr<Model> Base() const {
    return TinyModel(std::get<0>(GetParam()));
  }
  const LoraOptions& options() const { return std::get<1>(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(
    Families, AdaptersTest,
    ::testing::Combine(::testing::ValuesIn(AllFamilies()),
                       ::testing::ValuesIn(LoraKinds())),
    [](const auto& info) {
      return std::string(
                 FamilyOf(TinyConfig(std::get<0>(info.param))).model_type) +
             "_" + KindName(std::get<1>(info.param));
    });

TEST_P(AdaptersTest, NewOnesChangeNothingAndOffIsTheBaseToTheBit) {
  const std::unique_ptr<Model> base = Base(), model = Base();
  const std::vector<float> expected = Scores(*base);
  ASSERT_TRUE(AddAdapters(options(), Rng(7), *model).ok());
  EXPECT_EQ(Scores(*model), expected);
  AddLearnedAdapters(options(), *model);
  EXPECT_GT(LargestDifference(Scores(*model), expected), 1e-2);
  EXPECT_EQ(Scores(*model->WithoutAdapters()), expected);
}

TEST_P(AdaptersTest, CachedRowsHaveTheBitsOfPackedRows) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const std::unique_ptr<Model> model = Base();
  AddLearnedAdapters(options(), *model);
  const std::vector<int32_t> tokens = RandomTokens(14, Rng(4));
  Segments segments;
  segments.Append(14);
  const Tensor packed = model->Hidden(tokens, segments);
  KvCache cache = model->MakeCache();
  const CachedRows prompt{.sequence = cache.AddSequence(14), .rows = 10};
  model->HiddenCached(std::span(tokens).first(10), std::span(&prompt, 1),
                      cache);
  for (int64_t i = 10; i < 14; ++i) {
    const CachedRows row{.sequence = prompt.sequence, .rows = 1};
    const Tensor step = model->HiddenCached(std::span(tokens).subspan(i, 1),
                                            std::span(&row, 1), cache);
    EXPECT_EQ(std::memcmp(step.data(), packed.data() + i * 32, 128), 0) << i;
  }
}

// A step along the gradient of the adapters changes the value by step *
// |gradient|^2; the base has no gradients.
TEST_P(AdaptersTest, GradientPredictsTheChangeOfTheLoss) {
  const std::unique_ptr<Model> model = Base();
  AddLearnedAdapters(options(), *model);
  ParamStore& params = model->trained();
  params.EnableGradients();
  const TokenScores scores = Score(*model, Batch());
  Backward(scores.values, std::vector<float>(scores.values.size(), 1.0f));
  EXPECT_FALSE(model->params().trainable());
  // DoRA's norms are constants to the gradient, so that what follows holds for
  // the lengths alone.
  std::vector<float> direction(params.grads().begin(), params.grads().end());
  if (options().use_dora) {
    std::fill(direction.begin(), direction.end(), 0.0f);
    for (size_t i = 0; i < params.specs().size(); ++i) {
      if (params.specs()[i].shape.size() != 1) continue;
      std::ranges::copy(params.grads(i), direction.begin() + params.offset(i));
    }
  }
  double squared_norm = 0;
  for (float g : direction) squared_norm += double{g} * g;
  ASSERT_GT(squared_norm, 0);
  const double step = 2e-2 / squared_norm;
  const auto value_at = [&](double by) {
    const std::vector<float> before(params.values().begin(),
                                    params.values().end());
    for (size_t i = 0; i < direction.size(); ++i) {
      params.values()[i] += static_cast<float>(by * direction[i]);
    }
    double sum = 0;
    for (float x : Scores(*model)) sum += x;
    std::ranges::copy(before, params.values().begin());
    return sum;
  };
  EXPECT_NEAR((value_at(step) - value_at(-step)) / 2, 2e-2, 4e-4);
}

TEST_P(AdaptersTest, MergedScoresEqualUnmerged) {
  const std::unique_ptr<Model> model = Base();
  AddLearnedAdapters(options(), *model);
  const std::unique_ptr<Model> copy = CloneModel(*model);
  const std::vector<float> expected = Scores(*model);
  EXPECT_EQ(Scores(*copy), expected);
  MergeAdapters(*copy);
  EXPECT_EQ(copy->adapters(), nullptr);
  EXPECT_LT(LargestDifference(Scores(*copy), expected), 1e-4);
}

TEST(AdapterMemoryTest, NeitherGradientsNorAdaptersOffCopyTheBase) {
  const std::unique_ptr<Model> model = TinyModel();
  AddLearnedAdapters({.rank = 2}, *model);
  const int64_t before = GetStorageStats().bytes_in_use;
  const std::unique_ptr<Model> reference = model->WithoutAdapters();
  EXPECT_EQ(GetStorageStats().bytes_in_use, before);
  model->trained().EnableGradients();
  const auto arena =
      static_cast<int64_t>(model->adapters()->params().values().size_bytes());
  const int64_t grown = GetStorageStats().bytes_in_use - before;
  EXPECT_GE(grown, arena);
  EXPECT_LE(grown, arena * 5 / 4);  // storage comes in steps of a quarter
  EXPECT_LT(arena * 4,
            static_cast<int64_t>(model->params().values().size_bytes()));
}

TEST(AdapterDropoutTest, OnlyRecordedPassesInsideAScopeDrop) {
  const std::unique_ptr<Model> model = TinyModel();
  LoraOptions options{.rank = 3, .dropout = 0.5};
  AddLearnedAdapters(options, *model);
  model->trained().EnableGradients();
  const auto recorded = [&] {
    const TokenScores scores = Score(*model, Batch());
    return std::vector<float>(scores.log_probs().begin(),
                              scores.log_probs().end());
  };
  const std::vector<float> plain = Scores(*model);
  EXPECT_EQ(recorded(), plain);
  {
    const DropoutScope scope(*model->adapters(), Rng(1));
    EXPECT_EQ(Scores(*model), plain);
    const std::vector<float> first = recorded();
    EXPECT_GT(LargestDifference(first, plain), 1e-3);
    EXPECT_EQ(recorded(), first);
  }
  EXPECT_EQ(recorded(), plain);
}

// With B at 0 the dropped inputs of DoRA's own product cancel those of the
// base: what is computed is PEFT's.
TEST(AdapterDropoutTest, DoraOfANewAdapterDropsNothing) {
  const std::unique_ptr<Model> model = TinyModel();
  LoraOptions options{.rank = 3, .dropout = 0.5, .use_dora = true};
  ASSERT_TRUE(AddAdapters(options, Rng(7), *model).ok());
  const std::vector<float> plain = Scores(*model);
  model->trained().EnableGradients();
  const DropoutScope scope(*model->adapters(), Rng(1));
  const TokenScores scores = Score(*model, Batch());
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_NEAR(scores.log_probs()[i], plain[i], 1e-4);
  }
}

std::vector<std::string> Targets(Family family,
                                 const std::vector<std::string>& targets) {
  const auto layers = TargetLayers(TinyConfig(family), {.targets = targets});
  if (!layers.ok()) return {Message(layers.status())};
  std::vector<std::string> names;
  for (const LoraSite& layer : *layers) names.push_back(layer.module);
  return names;
}

TEST(TargetLayersTest, NamesAreMeantWholeOrByTheirEnd) {
  EXPECT_THAT(Targets(Family::kLlama, {"q_proj", "mlp.up_proj"}),
              ::testing::ElementsAre("model.layers.0.self_attn.q_proj",
                                     "model.layers.0.mlp.up_proj",
                                     "model.layers.1.self_attn.q_proj",
                                     "model.layers.1.mlp.up_proj"));
  EXPECT_THAT(Targets(Family::kLlama, {"model.layers.1.self_attn.o_proj"}),
              ::testing::ElementsAre("model.layers.1.self_attn.o_proj"));
  EXPECT_EQ(Targets(Family::kLlama, {"all-linear"}).size(), 14u);
  EXPECT_EQ(Targets(Family::kGpt2, {"all-linear"}).size(), 8u);
  // A router is a linear layer in Mixtral and not in DeepSeek-V3.
  EXPECT_EQ(Targets(Family::kMixtral, {"gate"}).size(), 2u);
  EXPECT_THAT(Targets(Family::kDeepseekV3, {"gate"})[0],
              HasSubstr("no layer has that name"));
  EXPECT_EQ(Targets(Family::kDeepseekV3, {"experts.7.down_proj"}).size(), 2u);
}

TEST(TargetLayersTest, WhatTakesNoAdapterIsRefusedByName) {
  EXPECT_THAT(Targets(Family::kLlama, {"proj"})[0],
              HasSubstr("'proj': no layer has that name; expected all-linear "
                        "or some of down_proj, gate_proj"));
  EXPECT_THAT(Targets(Family::kLlama, {"q_proj", "lm_head"})[0],
              HasSubstr("lm_head takes no adapter"));
  EXPECT_THAT(Targets(Family::kGpt2, {"wte"})[0],
              HasSubstr("transformer.wte takes no adapter"));
  EXPECT_THAT(Targets(Family::kLlama, {})[0], HasSubstr("at least one"));
}

TEST(TargetLayersTest, ARegularExpressionIsAskedOfEveryLayer) {
  LoraOptions options;
  options.target_regex = "what match understands";
  const auto layers = TargetLayers(
      TinyConfig(Family::kLlama), options,
      [](std::string_view layer) { return layer.ends_with("0.mlp.up_proj"); });
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 1u);
  EXPECT_EQ((*layers)[0].outputs, 48);
}

TEST(AddAdaptersTest, OptionsOutOfRangeAreRefused) {
  const std::unique_ptr<Model> model = TinyModel();
  const auto refused = [&](const LoraOptions& options) {
    return Message(AddAdapters(options, Rng(1), *model));
  };
  EXPECT_THAT(refused({.rank = 0}), HasSubstr("lora.rank: expected 1"));
  EXPECT_THAT(refused({.dropout = 1}), HasSubstr("lora.dropout"));
  EXPECT_THAT(refused({.alpha = NAN}), HasSubstr("lora.alpha"));
  EXPECT_EQ(model->adapters(), nullptr);
}

}  // namespace
}  // namespace align
