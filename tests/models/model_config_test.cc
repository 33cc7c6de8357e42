#include "align/models/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "align/base/files.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A small config.json with `extra` fields ("\"key\": value, ") in front, where
// simdjson finds them first.
std::string Text(const std::string& extra = "") {
  return "{" + extra +
         R"("architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "vocab_size": 512, "hidden_size": 64, "intermediate_size": 172,
            "num_hidden_layers": 5, "num_attention_heads": 8})";
}

absl::Status Parsed(const std::string& text) {
  return ParseModelConfig(text, "config.json").status();
}

void ExpectRefused(const std::string& extra, const std::string& what) {
  const absl::Status status = Parsed(Text(extra));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << extra;
  EXPECT_THAT(Message(status), HasSubstr(what));
  EXPECT_THAT(Message(status), HasSubstr("config.json"));
}

void ExpectUnsupported(const std::string& extra, const std::string& what) {
  const absl::Status status = Parsed(Text(extra));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << extra;
  EXPECT_THAT(Message(status), HasSubstr(what));
}

TEST(ModelConfigTest, AbsentFieldsTakeTransformersDefaults) {
  const auto config = ParseModelConfig(Text(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->num_key_value_heads, 8);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->max_position_embeddings, 2048);
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_EQ(config->rope_theta, 10000);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(2));
  EXPECT_FALSE(config->pad_token_id.has_value());
}

TEST(ModelConfigTest, TokenIdsMayBeListsOrNull) {
  const auto config =
      ParseModelConfig(Text(R"("eos_token_id": [3, 4], "bos_token_id": null,
              "pad_token_id": -1, )"),
                       "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->eos_token_ids, ElementsAre(3, 4));
  EXPECT_FALSE(config->bos_token_id.has_value());
  EXPECT_FALSE(config->pad_token_id.has_value());
}

TEST(ModelConfigTest, NestedRopeParametersAreRead) {
  const auto config =
      ParseModelConfig(Text(R"("rope_parameters": {"rope_type": "default",
                                  "rope_theta": 5e5}, )"),
                       "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope_theta, 500000);
}

TEST(ModelConfigTest, UnknownFieldsAreReported) {
  std::vector<std::string> unread;
  ASSERT_TRUE(
      ParseModelConfig(Text(R"("use_cache": true, "partial_magic": 3, )"),
                       "config.json", &unread)
          .ok());
  EXPECT_THAT(unread, ElementsAre("partial_magic"));
}

// Fields of other families that would change numbers in silence.
TEST(ModelConfigTest, UnsupportedOptionsOfFamiliesAreNamed) {
  const std::string gpt2 =
      R"("architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_head": 8,
         "n_layer": 2, "n_positions": 16, "bos_token_id": 1, "eos_token_id": 1,
      )";
  EXPECT_TRUE(Parsed(Text(gpt2)).ok()) << Parsed(Text(gpt2));
  ExpectUnsupported(gpt2 + R"("scale_attn_weights": false, )",
                    "scale_attn_weights false");
  ExpectUnsupported(gpt2 + R"("activation_function": "relu", )", "relu");
  const std::string deepseek =
      R"("architectures": ["DeepseekV2ForCausalLM"], "n_routed_experts": 4,
         "num_experts_per_tok": 2, "moe_intermediate_size": 8, )";
  EXPECT_TRUE(Parsed(Text(deepseek)).ok()) << Parsed(Text(deepseek));
  ExpectUnsupported(deepseek + R"("norm_topk_prob": true, )", "norm_topk_prob");
  ExpectUnsupported(deepseek + R"("moe_layer_freq": 2, )", "moe_layer_freq");
  ExpectUnsupported(deepseek + R"("topk_method": "noaux_tc", )", "noaux_tc");
  ExpectRefused(deepseek + R"("topk_method": "group_limited_greedy",
                              "n_group": 3, "topk_group": 1, )",
                "n_group");
  ExpectUnsupported(R"("architectures": ["MixtralForCausalLM"],
                       "num_key_value_heads": 8,
                       "router_jitter_noise": 0.1, )",
                    "router_jitter_noise");
  ExpectUnsupported(R"("architectures": ["Gemma2ForCausalLM"], "head_dim": 8,
                       "bos_token_id": 1, "layer_types": ["chunked"], )",
                    "chunked");
}

TEST(ModelConfigTest, UnsupportedFeaturesAreNamed) {
  ExpectUnsupported(R"("architectures": ["BertModel"], )", "BertModel");
  ExpectUnsupported(R"("architectures": ["BertModel"], )", "LlamaForCausalLM");
  ExpectUnsupported(R"("rope_scaling": {"rope_type": "longrope"}, )",
                    "longrope");
  ExpectUnsupported(R"("rope_scaling": {"type": "su"}, )", "su");
  ExpectUnsupported(R"("hidden_act": "relu", )", "relu");
  ExpectUnsupported(R"("quantization_config": {"quant_method": "fp8"}, )",
                    "quantization_config");
}

TEST(ModelConfigTest, WrongFieldsAreNamed) {
  ExpectRefused(R"("architectures": [], )", "architectures");
  ExpectRefused(R"("architectures": 1, )", "architectures");
  ExpectRefused(R"("vocab_size": "512", )", "vocab_size");
  ExpectRefused(R"("vocab_size": null, )", "vocab_size");
  ExpectRefused(R"("vocab_size": 0, )", "vocab_size");
  ExpectRefused(R"("hidden_size": -64, )", "hidden_size");
  ExpectRefused(R"("hidden_size": 65, )", "hidden_size");
  ExpectRefused(R"("hidden_size": 9223372036854775807, "head_dim": 8, )",
                "hidden_size");
  ExpectRefused(R"("num_hidden_layers": 1025, )", "num_hidden_layers");
  ExpectRefused(R"("num_attention_heads": 0, )", "hidden_size");
  ExpectRefused(R"("num_key_value_heads": 3, )", "num_key_value_heads 3");
  ExpectRefused(R"("num_key_value_heads": 0, )", "num_key_value_heads");
  ExpectRefused(R"("head_dim": 7, )", "even");
  ExpectRefused(R"("head_dim": 1048576, )", "num_attention_heads * head_dim");
  ExpectRefused(R"("rms_norm_eps": -1, )", "rms_norm_eps");
  ExpectRefused(R"("max_position_embeddings": 1000000000, )",
                "max_position_embeddings");
  ExpectRefused(R"("rope_theta": 0, )", "rope_theta");
  ExpectRefused(R"("rope_scaling": 2, )", "rope_scaling");
  ExpectRefused(R"("rope_scaling": {"rope_type": "linear"}, )", "factor");
  ExpectRefused(R"("rope_scaling": {"type": "linear", "factor": 0}, )",
                "factor");
  ExpectRefused(R"("rope_scaling": {"rope_type": "llama3", "factor": 8,
                   "low_freq_factor": 4, "high_freq_factor": 4}, )",
                "high_freq_factor");
  ExpectRefused(R"("attention_bias": 1, )", "attention_bias");
  ExpectRefused(R"("eos_token_id": 512, )", "512");
  ExpectRefused(R"("eos_token_id": [1, "2"], )", "eos_token_id");
  ExpectRefused(R"("bos_token_id": 99999999999, )", "bos_token_id");
}

TEST(ModelConfigTest, MalformedTextIsAStatus) {
  const std::string text = Text();
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(Parsed(text.substr(0, size)).code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(Parsed("[]").ok());
  EXPECT_FALSE(Parsed("{}").ok());
  EXPECT_FALSE(Parsed(std::string(100'000, '[')).ok());
}

class ModelConfigFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/align_model_config_test" +
                 std::to_string(::getpid());
    std::filesystem::remove_all(directory_);
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_F(ModelConfigFileTest, WhatIsWrittenReadsBackEqual) {
  ModelConfig config = *ParseModelConfig(Text(), "config.json");
  config.rope_theta = 1e6 / 3;
  config.tie_word_embeddings = config.mlp_bias = true;
  config.eos_token_ids = {5, 6};
  config.bos_token_id.reset();
  config.pad_token_id = 7;
  for (const int64_t labels : {1, 3}) {
    config.num_labels = labels;
    config.architecture = labels == 1
                              ? Architecture::kLlamaForCausalLM
                              : Architecture::kLlamaForSequenceClassification;
    ASSERT_TRUE(WriteModelConfig(directory_, config).ok());
    const auto read = ReadModelConfig(directory_);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, config);
  }
}

TEST_F(ModelConfigFileTest, RewardModelHasOneLabel) {
  ModelConfig config = *ParseModelConfig(Text(), "config.json");
  config.architecture = Architecture::kLlamaForSequenceClassification;
  ASSERT_TRUE(WriteModelConfig(directory_, config, StoredDtype::kBF16).ok());
  const std::string text = *ReadFile(directory_ + "/config.json");
  EXPECT_THAT(text, HasSubstr("\"0\": \"LABEL_0\"\n"));
  EXPECT_THAT(text, HasSubstr("\"torch_dtype\": \"bfloat16\""));
  EXPECT_EQ(ReadModelConfig(directory_)->num_labels, 1);
}

TEST_F(ModelConfigFileTest, InvalidConfigIsNotWritten) {
  EXPECT_EQ(WriteModelConfig(directory_, ModelConfig{}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_EQ(ReadModelConfig(directory_).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ModelConfigFileTest, GenerationConfigHoldsTheIds) {
  ModelConfig config;
  config.eos_token_ids = {2, 3};
  ASSERT_TRUE(WriteGenerationConfig(directory_, config).ok());
  EXPECT_EQ(*ReadFile(directory_ + "/generation_config.json"),
            "{\n  \"bos_token_id\": 1,\n  \"eos_token_id\": [\n    2,\n    3\n"
            "  ],\n  \"pad_token_id\": null\n}\n");
}

TEST_F(ModelConfigFileTest, TokenizerFilesThatExistAreCopied) {
  const std::string to = directory_ + "/to";
  ASSERT_TRUE(MakeDirectories(to).ok());
  ASSERT_TRUE(
      WriteFileAtomically(directory_ + "/tokenizer.model", "pieces").ok());
  ASSERT_TRUE(WriteFileAtomically(directory_ + "/other.txt", "x").ok());
  const auto copied = CopyTokenizerFiles(directory_, to);
  ASSERT_TRUE(copied.ok());
  EXPECT_THAT(*copied, ElementsAre("tokenizer.model"));
  EXPECT_EQ(*ReadFile(to + "/tokenizer.model"), "pieces");
}

}  // namespace
}  // namespace align
