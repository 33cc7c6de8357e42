#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"
#include "align/models/safetensors.h"

namespace align {

enum class Architecture {
  kLlamaForCausalLM,
  kLlamaForSequenceClassification,  // reward and value models: score.weight
};

// The class name in transformers: "LlamaForCausalLM".
std::string_view ArchitectureName(Architecture architecture);

// A Llama model's shape, as config.json gives it; the defaults are those of
// transformers' LlamaConfig. Sizes in elements.
struct ModelConfig {
  Architecture architecture = Architecture::kLlamaForCausalLM;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  int64_t num_labels = 1;  // rows of score.weight; classifiers only
  std::optional<int32_t> bos_token_id = 1;
  std::vector<int32_t> eos_token_ids = {2};
  std::optional<int32_t> pad_token_id;

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Whether the sizes are positive, fit together (heads a multiple of key/value
// heads, head_dim even, token ids inside the vocabulary) and are small enough
// that no product of them overflows: kInvalidArgument names the field, its
// value and what was expected.
absl::Status ValidateConfig(const ModelConfig& config);

// Parses config.json; `where` stands in front of every message. Errors:
// kInvalidArgument for malformed JSON, a missing or mistyped field or what
// ValidateConfig refuses; kUnimplemented, naming it, for an architecture, an
// activation or a RoPE scaling that is not supported.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json,
                                             const std::string& where);

// The same of directory/config.json; kNotFound if there is none.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

// Writes directory/config.json such that transformers loads it. `dtype` is
// that of the weights beside it: kF32 or kBF16. Errors: those of
// ValidateConfig and of writing; kUnimplemented for another dtype.
absl::Status WriteModelConfig(const std::string& directory,
                              const ModelConfig& config,
                              StoredDtype dtype = StoredDtype::kF32);

// Writes directory/generation_config.json: the bos, eos and pad ids.
absl::Status WriteGenerationConfig(const std::string& directory,
                                   const ModelConfig& config);

// Copies the tokenizer's files that `from` has (tokenizer.model,
// tokenizer.json, tokenizer_config.json, special_tokens_map.json,
// chat_template.jinja) to `to` and returns their names; none is no error.
absl::StatusOr<std::vector<std::string>> CopyTokenizerFiles(
    const std::string& from, const std::string& to);

}  // namespace align
