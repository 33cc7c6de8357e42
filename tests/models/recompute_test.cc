#include "align/models/recompute.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "align/base/storage.h"
#include "align/ops/packed_batch.h"
#include "align/tensor/tape.h"
#include "tests/support/tiny_adapters.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

// Two prompts with two continuations each.
PackedBatch Batch() {
  PackedBatch batch;
  for (uint64_t i = 0; i < 2; ++i) {
    const int32_t prompt = batch.AppendPrompt(RandomTokens(7, Rng(i)));
    batch.AppendCompletion(prompt, RandomTokens(5, Rng(10 + i)));
    batch.AppendCompletion(prompt, RandomTokens(9, Rng(20 + i)));
  }
  return batch;
}

// Bits of the log-probs, of the routers' logits and of all gradients of a pass
// with seeds for both.
std::vector<uint32_t> PassBits(Model& model, bool recompute) {
  SetRecomputeActivations(model, recompute);
  model.trained().ZeroGradients();
  const PackedBatch batch = Batch();
  std::vector<RouterOutput> routers;
  const TokenScores scores =
      ScoreTokens(model.HiddenAndRouters(batch.tokens, batch.segments, routers),
                  model.Head(), batch.scored);
  std::vector<std::vector<float>> seeds;
  const auto draw = [&](int64_t count) {
    Rng rng = Rng(99).Fork(seeds.size());
    std::vector<float>& seed = seeds.emplace_back();
    for (int64_t i = 0; i < count; ++i) {
      seed.push_back(static_cast<float>(rng.Normal()));
    }
  };
  draw(scores.values.size());
  for (const RouterOutput& router : routers) draw(router.logits.size());
  std::vector<Root> roots = {{.output = scores.values, .seed = seeds[0]}};
  for (size_t i = 0; i < routers.size(); ++i) {
    roots.push_back({.output = routers[i].logits, .seed = seeds[i + 1]});
  }
  std::vector<uint32_t> bits;
  const auto add = [&](std::span<const float> values) {
    for (const float v : values) bits.push_back(std::bit_cast<uint32_t>(v));
  };
  add(scores.values.values());
  for (const RouterOutput& router : routers) {
    add(router.logits.values());
    bits.insert(bits.end(), router.experts.begin(), router.experts.end());
  }
  Backward(roots);
  add(model.trained().grads());
  return bits;
}

class RecomputeTest : public ::testing::TestWithParam<Family> {};

INSTANTIATE_TEST_SUITE_P(Families, RecomputeTest,
                         ::testing::ValuesIn(AllFamilies()),
                         [](const auto& info) {
                           return std::string(
                               FamilyOf(TinyConfig(info.param)).model_type);
                         });

TEST_P(RecomputeTest, GradientsHaveTheBitsOfKeptActivations) {
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    const auto model = TinyModel(GetParam());
    model->params().SetPrecision(precision);
    model->params().EnableGradients();
    const std::vector<uint32_t> kept = PassBits(*model, false);
    EXPECT_EQ(PassBits(*model, true), kept);
    EXPECT_EQ(PassBits(*model, false), kept);
  }
}

TEST_P(RecomputeTest, AdaptersDropTheSameInputsOnTheWayBack) {
  for (LoraOptions lora : LoraKinds()) {
    lora.dropout = 0.25;
    const auto model = TinyModel(GetParam());
    AddLearnedAdapters(lora, *model);
    model->trained().EnableGradients();
    const std::vector<uint32_t> whole = PassBits(*model, true);
    EXPECT_EQ(PassBits(*model, false), whole) << KindName(lora);
    const DropoutScope scope(*model->adapters(), Rng(5));
    const std::vector<uint32_t> dropped = PassBits(*model, true);
    EXPECT_NE(dropped, whole);
    EXPECT_EQ(PassBits(*model, false), dropped) << KindName(lora);
  }
}

// Below the lowest adapter nothing needs a gradient, and nothing is run twice.
TEST(RecomputedBlocks, AdaptersInTheLastLayerAloneHaveTheSameGradients) {
  const auto model = TinyModel();
  LoraOptions lora{.rank = 2};
  lora.targets = {"layers.1.mlp.up_proj"};
  AddLearnedAdapters(lora, *model);
  model->trained().EnableGradients();
  EXPECT_EQ(PassBits(*model, true), PassBits(*model, false));
}

TEST(RecomputedBlocks, AFrozenModelKeepsNoTape) {
  const auto model = TinyModel();
  SetRecomputeActivations(*model, true);
  const PackedBatch batch = Batch();
  EXPECT_FALSE(model->Hidden(batch.tokens, batch.segments).requires_grad());
}

TEST(RecomputedBlocks, PeakMemoryIsOfOneBlockAndTheRowsBetween) {
  ModelConfig config = TinyConfig();
  config.num_hidden_layers = 12;
  config.hidden_size = 64;
  config.intermediate_size = 256;
  const auto model = CreateModel(config, Rng(1));
  ASSERT_TRUE(model.ok()) << model.status();
  (*model)->params().EnableGradients();
  const std::vector<int32_t> tokens = RandomTokens(128, Rng(2));
  Segments segments;
  segments.Append(128);
  const auto peak = [&](bool recompute) {
    SetRecomputeActivations(**model, recompute);
    TrimStorage();
    ResetStoragePeak();
    const int64_t before = GetStorageStats().bytes_in_use;
    const Tensor hidden = (*model)->Hidden(tokens, segments);
    const std::vector<float> seed(hidden.size(), 0.5f);
    Backward(hidden, seed);
    return GetStorageStats().peak_bytes - before;
  };
  EXPECT_LT(3 * peak(true), peak(false));
}

TEST(RecomputedBlocksDeathTest, AWayBackOutsideOfTheDropoutScopeAborts) {
  const auto model = TinyModel();
  AddLearnedAdapters({.rank = 2, .dropout = 0.5}, *model);
  model->trained().EnableGradients();
  SetRecomputeActivations(*model, true);
  const PackedBatch batch = Batch();
  std::optional<DropoutScope> scope;
  scope.emplace(*model->adapters(), Rng(5));
  const Tensor hidden = model->Hidden(batch.tokens, batch.segments);
  scope.reset();
  const std::vector<float> seed(hidden.size(), 1);
  EXPECT_DEATH(Backward(hidden, seed), "other values on the way back");
}

}  // namespace
}  // namespace align
