// The prediction of a training step's memory against a step: what counts is
// the peak of the tensors' own pool (align/base/storage.h).

#include "align/models/memory_plan.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "align/base/storage.h"
#include "align/dnnl/matmul.h"
#include "align/dnnl/packed_matrix.h"
#include "align/dnnl/precision.h"
#include "align/models/peft.h"
#include "align/models/recompute.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "align/train/optimizer.h"
#include "align/train/sft_objective.h"
#include "samplers/generate.h"
#include "tests/support/tiny_model.h"

namespace align::train {
namespace {

// Wider than TinyConfig, so that no part of the sum is lost beside the others.
ModelConfig Config(Family family) {
  ModelConfig config = TinyConfig(family);
  config.vocab_size = 700;
  config.hidden_size = 128;
  config.num_hidden_layers = 3;
  config.intermediate_size = 320;
  if (family == Family::kGpt2 || family == Family::kGptNeox) {
    config.head_dim = 32;
  }
  if (config.experts.routed > 0) config.experts.inner = 96;
  config.sliding_window = 0;
  config.sliding_layers.clear();
  return config;
}

constexpr TrainingShape kShape = {.batch = 6, .length = 96};
constexpr TrainingShape kRecomputed = {
    .batch = 6, .length = 96, .recompute_activations = true};

SftBatch Batch() {
  SftBatch batch;
  for (int64_t i = 0; i < kShape.batch; ++i) {
    // One token more: the last one is scored, but no input.
    const std::vector<int32_t> tokens =
        RandomTokens(kShape.length + 1, Rng(i), 700);
    const std::vector<int32_t> first(tokens.begin(), tokens.begin() + 1);
    const std::vector<int32_t> rest(tokens.begin() + 1, tokens.end());
    batch.packed.AppendCompletion(batch.packed.AppendPrompt(first), rest);
  }
  return batch;
}

// The peak of two steps of a model that is made here; of everything, or of
// adapters with `lora`.
int64_t MeasuredPeak(const ModelConfig& config,
                     const std::optional<LoraOptions>& lora,
                     const TrainingShape& shape = kShape) {
  TrimStorage();
  ResetStoragePeak();
  const int64_t before = GetStorageStats().bytes_in_use;
  const auto model = CreateModel(config, Rng(1));
  std::optional<DropoutScope> scope;
  if (lora) {
    EXPECT_TRUE(AddAdapters(*lora, Rng(2), **model).ok());
    scope.emplace(*(*model)->adapters(), Rng(3));
  }
  (*model)->trained().EnableGradients();
  SetRecomputeActivations(**model, shape.recompute_activations);
  Optimizer optimizer({}, {}, {&(*model)->trained()});
  const Objective<SftBatch> objective = SftObjective(**model);
  const SftBatch batch = Batch();
  for (int step = 0; step < 2; ++step) {
    const auto micro = objective(batch);
    EXPECT_TRUE(micro.ok()) << micro.status();
    optimizer.Step(1e-3);
  }
  return GetStorageStats().peak_bytes - before;
}

class MemoryPlanTest : public ::testing::TestWithParam<Family> {};

INSTANTIATE_TEST_SUITE_P(Families, MemoryPlanTest,
                         ::testing::ValuesIn(AllFamilies()),
                         [](const auto& info) {
                           return std::string(
                               FamilyOf(TinyConfig(info.param)).model_type);
                         });

TEST_P(MemoryPlanTest, FullTrainingIsWithin15PercentOfTheMeasuredPeak) {
  const ModelConfig config = Config(GetParam());
  const auto measured = static_cast<double>(MeasuredPeak(config, {}));
  const auto planned =
      static_cast<double>(PlanTraining(config, kShape).Total());
  EXPECT_NEAR(planned / measured, 1, 0.15) << planned << " " << measured;
}

TEST_P(MemoryPlanTest, LoraTrainingIsWithin15PercentOfTheMeasuredPeak) {
  const ModelConfig config = Config(GetParam());
  for (const int kind : {0, 1, 2, 3}) {
    const LoraOptions lora{
        .rank = 8, .dropout = kind / 2 * 0.1, .use_dora = kind % 2 == 1};
    const auto sites = TargetLayers(config, lora);
    ASSERT_TRUE(sites.ok());
    const auto measured = static_cast<double>(MeasuredPeak(config, lora));
    const MemoryPlan plan = PlanLoraTraining(config, kShape, lora, *sites);
    const auto planned = static_cast<double>(plan.Total());
    EXPECT_NEAR(planned / measured, 1, 0.15) << planned << " " << measured;
    // Gradients and moments of the adapters alone.
    EXPECT_LT(plan.gradients + plan.optimizer, plan.weights);
  }
}

TEST_P(MemoryPlanTest, RecomputedBlocksAreWithin15PercentAndTakeLess) {
  ModelConfig config = Config(GetParam());
  config.num_hidden_layers = 8;
  const auto expect = [&](const std::optional<LoraOptions>& lora,
                          const MemoryPlan& plan) {
    const auto measured =
        static_cast<double>(MeasuredPeak(config, lora, kRecomputed));
    const auto planned = static_cast<double>(plan.Total());
    EXPECT_NEAR(planned / measured, 1, 0.15) << planned << " " << measured;
    EXPECT_LT(measured, 0.8 * static_cast<double>(MeasuredPeak(config, lora)));
  };
  expect({}, PlanTraining(config, kRecomputed));
  const LoraOptions lora{.rank = 8, .dropout = 0.1};
  const auto sites = TargetLayers(config, lora);
  ASSERT_TRUE(sites.ok());
  expect(lora, PlanLoraTraining(config, kRecomputed, lora, *sites));
}

TEST_P(MemoryPlanTest, LoadingTakesTheWeights) {
  const ModelConfig config = Config(GetParam());
  TrimStorage();
  const int64_t before = GetStorageStats().bytes_in_use;
  const std::unique_ptr<Model> model = Model::MakeEmpty(config);
  EXPECT_EQ(GetStorageStats().bytes_in_use - before, WeightBytes(config));
}

// Enough tokens that every expert is chosen, and rows to score.
TEST_P(MemoryPlanTest, ScoringInBf16KeepsThePackedCopies) {
  if (!HasBf16()) GTEST_SKIP() << "no bf16 products on this CPU";
  const ModelConfig config = Config(GetParam());
  const auto model = CreateModel(config, Rng(1));
  ASSERT_TRUE(model.ok()) << model.status();
  (*model)->params().SetPrecision(Precision::kBf16);
  const SftBatch batch = Batch();
  const int64_t before = GetStorageStats().bytes_in_use;
  {
    const NoGrad no_grad;
    ScoreTokens((*model)->Hidden(batch.packed.tokens, batch.packed.segments),
                (*model)->Head(), batch.packed.scored);
  }
  const auto kept =
      static_cast<double>(GetStorageStats().bytes_in_use - before);
  const auto planned =
      static_cast<double>(PackedBytes(config, Precision::kBf16));
  EXPECT_NEAR(planned / kept, 1, 0.1) << planned << " " << kept;
}

// Decoding, that is products of few rows.
TEST(PackedBytesTest, AreWhatSamplingInF32Keeps) {
  if (!PackedRowsExact(Precision::kF32)) GTEST_SKIP() << DescribeMatmul();
  const ModelConfig config = Config(Family::kLlama);
  const auto model = CreateModel(config, Rng(1));
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3}};
  const int64_t before = GetStorageStats().bytes_in_use;
  ASSERT_TRUE(
      samplers::Generate(**model, prompts, 4, {.max_new_tokens = 3}, Rng(1))
          .ok());
  const auto kept =
      static_cast<double>(GetStorageStats().bytes_in_use - before);
  const auto planned =
      static_cast<double>(PackedBytes(config, Precision::kF32));
  EXPECT_NEAR(planned / kept, 1, 0.1) << planned << " " << kept;
}

TEST(OptimizerMemoryTest, StateIsOfTheAdaptersAlone) {
  const std::unique_ptr<Model> model = TinyModel();
  ASSERT_TRUE(AddAdapters({.rank = 2}, Rng(1), *model).ok());
  model->trained().EnableGradients();
  TrimStorage();
  const int64_t before = GetStorageStats().bytes_in_use;
  const Optimizer optimizer({}, {}, {&model->trained()});
  const auto arena =
      static_cast<int64_t>(model->adapters()->params().values().size());
  EXPECT_EQ(GetStorageStats().bytes_in_use - before, 2 * StorageBytes(arena));
}

}  // namespace
}  // namespace align::train
