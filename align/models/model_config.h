#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"
#include "align/models/safetensors.h"
#include "align/ops/ops.h"

namespace align {

// How a model computes its hidden rows; one file each (model_family.h).
enum class Family {
  kLlama,
  kMistral,
  kQwen2,
  kQwen3,
  kGemma,
  kGemma2,
  kGpt2,
  kGptNeox,
  kMixtral,
  kDeepseekV2,
  kDeepseekV3,
};

// What it makes of them.
enum class HeadKind {
  kLanguageModel,       // logits over the vocabulary
  kSequenceClassifier,  // reward and value models: score.weight
};

struct Architecture {
  Family family = Family::kLlama;
  HeadKind head = HeadKind::kLanguageModel;

  static const Architecture kLlamaForCausalLM;
  static const Architecture kLlamaForSequenceClassification;

  friend bool operator==(const Architecture&, const Architecture&) = default;
};
inline constexpr Architecture Architecture::kLlamaForCausalLM = {
    .family = Family::kLlama, .head = HeadKind::kLanguageModel};
inline constexpr Architecture Architecture::kLlamaForSequenceClassification = {
    .family = Family::kLlama, .head = HeadKind::kSequenceClassifier};

// The class name in transformers: "LlamaForCausalLM".
std::string_view ArchitectureName(const Architecture& architecture);

enum class RopeKind { kPlain, kLinear, kLlama3, kYarn, kDynamic };

// How rotary frequencies were stretched for longer texts: transformers'
// rope_scaling. What a kind does not use keeps its default.
struct RopeScaling {
  RopeKind kind = RopeKind::kPlain;
  double factor = 1;
  int64_t original_positions = 0;  // 0: max_position_embeddings
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  double attention_factor = 0;            // yarn; 0: as the paper has it
  double mscale = 0, mscale_all_dim = 0;  // yarn of DeepSeek; 0: absent
  bool truncate = true;                   // yarn

  friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

// A mixture of experts in place of an MLP. Sizes in elements.
struct ExpertConfig {
  int64_t routed = 0;        // experts; 0: an MLP
  int64_t chosen = 0;        // of them, a token
  int64_t inner = 0;         // width of one
  int64_t shared = 0;        // experts that every token has besides
  int64_t dense_layers = 0;  // first layers, with an MLP
  int64_t groups = 1, groups_chosen = 1;
  bool normalise = false;
  double scale = 1;  // of the routed experts' weights
  // The auxiliary loss of a layer is a mean over sequences (DeepSeek).
  bool balance_by_sequence = true;

  friend bool operator==(const ExpertConfig&, const ExpertConfig&) = default;
};

// Multi-head latent attention of DeepSeek: ranks of the compressed vectors, and
// what a head's key (nope_dim + rope_dim) and value are made of.
struct LatentConfig {
  int64_t q_rank = 0;  // 0: queries are not compressed
  int64_t kv_rank = 0;
  int64_t nope_dim = 0, rope_dim = 0, value_dim = 0;
  bool interleaved = false;  // RoPE turns neighbours

  friend bool operator==(const LatentConfig&, const LatentConfig&) = default;
};

// A model's shape, as config.json gives it; the defaults are those of
// transformers' LlamaConfig. Sizes in elements. Fields that a family does not
// know keep their defaults.
struct ModelConfig {
  Architecture architecture;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;  // of LayerNorm too
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  double rotary_share = 1;  // of a head's elements, those that rotate
  // Positions that a row sees, its own among them (0: all), and in which
  // layers (empty: in all of them).
  int64_t sliding_window = 0;
  std::vector<bool> sliding_layers;
  double query_scalar = 0;  // scores are divided by its root; 0: head_dim
  double attention_soft_cap = 0, logit_soft_cap = 0;  // 0: none
  ExpertConfig experts;
  LatentConfig latent;
  Activation activation = Activation::kSilu;
  bool parallel_residual = false;      // attention and MLP see the same rows
  bool scale_scores_by_layer = false;  // by 1 / (layer + 1) (GPT-2)
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  int64_t num_labels = 1;  // rows of score.weight; classifiers only
  std::optional<int32_t> bos_token_id = 1;
  std::vector<int32_t> eos_token_ids = {2};
  std::optional<int32_t> pad_token_id;

  bool classifier() const {
    return architecture.head == HeadKind::kSequenceClassifier;
  }
  int64_t Window(int64_t layer) const {
    return sliding_layers.empty() || sliding_layers[layer] ? sliding_window : 0;
  }

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Whether the sizes are positive, fit together (heads a multiple of key/value
// heads, head_dim even, token ids inside the vocabulary) and are small enough
// that no product of them overflows: kInvalidArgument names the field, its
// value and what was expected.
absl::Status ValidateConfig(const ModelConfig& config);

// The same of a mixture of experts.
absl::Status ValidateExperts(const ExpertConfig& experts);

// Parses config.json; `where` stands in front of every message. The names of
// fields that mean nothing to us are added to `unread` when given. Errors:
// kInvalidArgument for malformed JSON, a missing or mistyped field or what
// ValidateConfig refuses; kUnimplemented, naming it, for an architecture, an
// activation or another option that is not supported.
absl::StatusOr<ModelConfig> ParseModelConfig(
    std::string_view json, const std::string& where,
    std::vector<std::string>* unread = nullptr);

// The same of directory/config.json, with a log line for fields that mean
// nothing to us; kNotFound if there is none.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

// Writes directory/config.json such that transformers loads it. `dtype` is
// that of the weights beside it: kF32, kF16 or kBF16. Errors: those of
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
