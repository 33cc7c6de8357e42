#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "align/models/tensor_spec.h"

namespace align {
namespace {

using ::testing::IsEmpty;

// Reads config.json and the tensors of a model that others wrote.
ModelConfig ExpectComplete(const std::string& directory) {
  const auto config = ReadModelConfig(directory);
  const auto reader = CheckpointReader::Open(directory);
  EXPECT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(reader.ok()) << reader.status();
  if (!config.ok() || !reader.ok()) return {};
  const auto extra = CheckTensors(*config, *reader);
  EXPECT_TRUE(extra.ok()) << extra.status();
  if (extra.ok()) {
    EXPECT_THAT(*extra, IsEmpty());
  }
  return *config;
}

TEST(TensorSpecSharedTest, PretrainedModelIsCompleteAndTied) {
  const ModelConfig config =
      ExpectComplete(ALIGN_SHARED_DIR "/models/stories260k");
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 8);
}

TEST(TensorSpecSharedTest, OracleModelIsCompleteAndUntied) {
  const ModelConfig config =
      ExpectComplete(ALIGN_SHARED_DIR "/oracle/models/llama");
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.pad_token_id, 0);
}

TEST(TensorSpecSharedTest, EveryFamilyIsComplete) {
  for (const char* folder :
       {"llama3_rope", "llama_linear_rope", "llama_yarn", "mistral", "qwen2",
        "qwen3", "gemma", "gemma2", "gpt2", "gpt_neox", "gpt_neox_sequential",
        "mixtral", "deepseek_v2", "deepseek_v2_grouped", "deepseek_v3",
        "deepseek_v3_yarn"}) {
    ExpectComplete(std::string(ALIGN_SHARED_DIR "/oracle/models/") + folder);
  }
}

}  // namespace
}  // namespace align
