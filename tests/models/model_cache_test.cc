#include "align/models/model_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "align/dnnl/matmul.h"
#include "align/models/model.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

using ::testing::HasSubstr;

class LatentCacheTest : public ::testing::TestWithParam<Family> {};

INSTANTIATE_TEST_SUITE_P(Families, LatentCacheTest,
                         ::testing::Values(Family::kDeepseekV2,
                                           Family::kDeepseekV3),
                         [](const auto& info) {
                           return std::string(
                               FamilyOf(TinyConfig(info.param)).model_type);
                         });

// Hidden rows of a prompt of 19 tokens, and of two continuations of it that are
// fed token by token, in one batch or each on its own.
std::vector<float> Decode(const Model& model, CacheMode mode,
                          size_t sequences_a_step = 2) {
  const std::vector<int32_t> prompt = RandomTokens(19, Rng(1));
  const std::vector<int32_t> tokens = RandomTokens(24, Rng(2));
  KvCache cache = model.MakeCache(mode);
  const int32_t parent = cache.AddSequence(19);
  const CachedRows all{.sequence = parent, .rows = 19};
  const Tensor prefill =
      model.HiddenCached(prompt, std::span<const CachedRows>(&all, 1), cache);
  std::vector<float> rows(prefill.values().begin(), prefill.values().end());
  const CachedRows both[] = {{cache.AddSequence(12, parent), 1},
                             {cache.AddSequence(12, parent), 1}};
  for (size_t i = 0; i < tokens.size(); i += sequences_a_step) {
    const Tensor step = model.HiddenCached(
        std::span<const int32_t>(tokens).subspan(i, sequences_a_step),
        std::span<const CachedRows>(both).subspan(i % 2, sequences_a_step),
        cache);
    rows.insert(rows.end(), step.values().begin(), step.values().end());
  }
  return rows;
}

// A score is a sum of nope_dim * kv_rank = 96 products, once by q (W c) and
// once by (q W) c. Either way rounds at most 8 + 12 + 2 times by 2^-24 relative
// to the sum of its terms' sizes, 1.3e-6, which for scores of up to 10 moves a
// probability by as much as 1.3e-5 of itself and a mix of values of order one
// by that; as much again where values are mixed before they are expanded. Two
// layers and the norms between them double it: 5e-5 on rows of order one.
TEST_P(LatentCacheTest, AbsorbedRowsAreExactRowsToRounding) {
  const std::unique_ptr<Model> model = TinyModel(GetParam());
  const std::vector<float> exact = Decode(*model, CacheMode::kExact);
  const std::vector<float> absorbed = Decode(*model, CacheMode::kAbsorbed);
  ASSERT_EQ(exact.size(), absorbed.size());
  double largest = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    largest = std::max<double>(largest, std::abs(exact[i] - absorbed[i]));
  }
  EXPECT_LT(largest, 5e-5);
  EXPECT_GT(largest, 0);  // they are two computations
}

TEST_P(LatentCacheTest, AbsorbedRowsDoNotDependOnTheirBatch) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const std::unique_ptr<Model> model = TinyModel(GetParam());
  EXPECT_EQ(Decode(*model, CacheMode::kAbsorbed, 2),
            Decode(*model, CacheMode::kAbsorbed, 1));
}

// The attention of a model as big as they come; nothing else of it is needed.
ModelConfig LatentShape(int64_t layers, int64_t heads) {
  ModelConfig config;
  config.architecture.family = Family::kDeepseekV3;
  config.num_hidden_layers = layers;
  config.num_attention_heads = config.num_key_value_heads = heads;
  config.head_dim = 192;
  config.latent = {
      .kv_rank = 512, .nope_dim = 128, .rope_dim = 64, .value_dim = 128};
  return config;
}

// What a token takes of a cache, of a sequence of a whole tile.
int64_t Measure(KvCache cache) {
  cache.AddSequence(kTilePositions);
  EXPECT_EQ(cache.bytes(), kTilePositions * cache.bytes_per_token());
  return cache.bytes() / kTilePositions;
}

std::string Row(const std::string& name, const ModelConfig& config) {
  // Heads whose keys and values are both of the keys' size, as others have.
  const int64_t full = Measure(
      KvCache(config.num_hidden_layers, {.kv_heads = config.num_attention_heads,
                                         .key_dim = config.head_dim,
                                         .value_dim = config.head_dim}));
  const int64_t exact =
      Measure(CacheOf(config, CacheMode::kExact, Precision::kF32));
  const int64_t absorbed =
      Measure(CacheOf(config, CacheMode::kAbsorbed, Precision::kF32));
  char share[16];
  std::snprintf(
      share, sizeof(share), "%.1f %%",
      100.0 * static_cast<double>(absorbed) / static_cast<double>(exact));
  return "| " + name + " | " + std::to_string(full) + " | " +
         std::to_string(exact) + " | " + std::to_string(absorbed) + " | " +
         share + " |";
}

TEST(ModelCacheTest, TheReadmeSaysWhatCachesTake) {
  std::ostringstream readme;
  readme << std::ifstream(std::string(ALIGN_SOURCE_DIR) + "/README.md").rdbuf();
  for (const std::string& row :
       {Row("DeepSeek-V2-Lite: 27 layers, 16 heads", LatentShape(27, 16)),
        Row("DeepSeek-V2: 60 layers, 128 heads", LatentShape(60, 128)),
        Row("DeepSeek-V3: 61 layers, 128 heads", LatentShape(61, 128)),
        Row("the tests' DeepSeek-V3: 2 layers, 4 heads",
            TinyConfig(Family::kDeepseekV3))}) {
    EXPECT_THAT(readme.str(), HasSubstr(row));
  }
}

TEST(ModelCacheTest, OnlyLatentAttentionHasAnAbsorbedCache) {
  for (const Family family : AllFamilies()) {
    const ModelConfig config = TinyConfig(family);
    EXPECT_TRUE(CheckCacheMode(config, CacheMode::kExact).ok());
    EXPECT_EQ(CheckCacheMode(config, CacheMode::kAbsorbed).ok(),
              config.latent.kv_rank > 0);
  }
  EXPECT_THAT(Message(CheckCacheMode(TinyConfig(), CacheMode::kAbsorbed)),
              HasSubstr("LlamaForCausalLM has no latent attention"));
  EXPECT_EQ(DescribeCache(TinyConfig(Family::kDeepseekV2), CacheMode::kAbsorbed,
                          Precision::kF32),
            "absorbed cache: 128 bytes a token in 2 layers, of 576 exact");
  EXPECT_EQ(DescribeCache(TinyConfig(), CacheMode::kExact, Precision::kF32),
            "exact cache: 256 bytes a token in 2 layers");
}

TEST(ModelCacheTest, Bf16HalvesValuesOfExactCachesAlone) {
  for (const Family family : AllFamilies()) {
    const ModelConfig config = TinyConfig(family);
    const auto bytes = [&](CacheMode mode, Precision precision) {
      return Measure(CacheOf(config, mode, precision));
    };
    const int64_t values =
        config.num_hidden_layers *
        CacheOf(config, CacheMode::kExact, Precision::kF32).row().value_width();
    EXPECT_EQ(bytes(CacheMode::kExact, Precision::kF32) -
                  bytes(CacheMode::kExact, Precision::kBf16),
              2 * values);
    if (!CheckCacheMode(config, CacheMode::kAbsorbed).ok()) continue;
    EXPECT_EQ(bytes(CacheMode::kAbsorbed, Precision::kBf16),
              bytes(CacheMode::kAbsorbed, Precision::kF32));
  }
}

}  // namespace
}  // namespace align
