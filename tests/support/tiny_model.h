#pragma once

#include <memory>
#include <string>
#include <vector>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/models/model.h"
#include "align/models/model_family.h"

namespace align {

// Two layers of 32 with grouped heads: a real Llama that trains in
// milliseconds.
inline ModelConfig TinyConfig(bool tied = false) {
  ModelConfig config;
  config.vocab_size = 61;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 128;
  config.rms_norm_eps = 1e-5;
  config.tie_word_embeddings = tied;
  return config;
}

// Weights ten times the usual size, so that the distribution is far from
// uniform and every feature shows.
inline std::unique_ptr<Model> TinyModel(uint64_t seed = 1, bool tied = false,
                                        bool reward = false) {
  ModelConfig config = TinyConfig(tied);
  if (reward) config.architecture.head = HeadKind::kSequenceClassifier;
  auto model = CreateModel(config, Rng(seed));
  ALIGN_CHECK(model.ok()) << model.status().ToString();
  for (size_t i = 0; i < (*model)->params().specs().size(); ++i) {
    if ((*model)->params().specs()[i].shape.size() < 2) continue;
    for (float& v : (*model)->params().values(i)) v *= 10;
  }
  return *std::move(model);
}

// The same size in any family, with what is special about it at work.
inline ModelConfig TinyConfig(Family family) {
  ModelConfig config;
  config.architecture.family = family;
  config = FamilyOf(config).defaults();
  config.architecture.family = family;
  const ModelConfig tiny = TinyConfig();
  config.vocab_size = tiny.vocab_size;
  config.hidden_size = tiny.hidden_size;
  config.intermediate_size = tiny.intermediate_size;
  config.num_hidden_layers = tiny.num_hidden_layers;
  config.num_attention_heads = config.num_key_value_heads = 4;
  config.head_dim = 8;
  config.max_position_embeddings = 128;
  config.bos_token_id = 1;
  config.eos_token_ids = {2};
  config.pad_token_id.reset();
  const LatentConfig latent{.kv_rank = 12,
                            .nope_dim = 8,
                            .rope_dim = 4,
                            .value_dim = 6,
                            .interleaved = true};
  switch (family) {
    case Family::kLlama:
      config.num_key_value_heads = 2;
      config.attention_bias = config.mlp_bias = true;
      config.rope_scaling = {
          .kind = RopeKind::kLlama3, .factor = 8, .original_positions = 16};
      break;
    case Family::kMistral:
      config.num_key_value_heads = 2;
      config.sliding_window = 5;
      break;
    case Family::kQwen2:
      config.num_key_value_heads = 2;
      config.sliding_window = 6;
      config.sliding_layers = {false, true};
      break;
    case Family::kQwen3:
      config.head_dim = 12;
      break;
    case Family::kGemma:
      config.num_key_value_heads = 1;
      config.head_dim = 10;
      break;
    case Family::kGemma2:
      config.head_dim = 10;
      config.sliding_window = 5;
      config.sliding_layers = {true, false};
      config.query_scalar = 12;
      config.attention_soft_cap = 3;
      config.logit_soft_cap = 4;
      break;
    case Family::kGpt2:
      config.scale_scores_by_layer = true;
      break;
    case Family::kGptNeox:
      break;
    case Family::kMixtral:
      config.intermediate_size = 24;
      config.experts = {.routed = 4, .chosen = 2, .inner = 24};
      break;
    case Family::kDeepseekV2:
      config.latent = latent;
      config.head_dim = 12;
      config.experts = {.routed = 6,
                        .chosen = 2,
                        .inner = 16,
                        .shared = 1,
                        .dense_layers = 1,
                        .groups = 3,
                        .groups_chosen = 2,
                        .scale = 1.5};
      break;
    case Family::kDeepseekV3:
      config.latent = latent;
      config.latent.q_rank = 10;
      config.head_dim = 12;
      config.experts = {.routed = 8,
                        .chosen = 3,
                        .inner = 16,
                        .shared = 2,
                        .groups = 4,
                        .groups_chosen = 2,
                        .normalise = true,
                        .scale = 2.5};
      config.rope_scaling = {.kind = RopeKind::kYarn,
                             .factor = 4,
                             .original_positions = 32,
                             .mscale = 1,
                             .mscale_all_dim = 0.7};
      break;
  }
  return config;
}

inline std::vector<Family> AllFamilies() {
  std::vector<Family> families;
  for (const ModelFamily* family : ModelFamilies()) {
    families.push_back(family->family);
  }
  return families;
}

// Weights as those of TinyModel; biases and norms away from where they start.
inline std::unique_ptr<Model> TinyModel(Family family, uint64_t seed = 1) {
  auto model = CreateModel(TinyConfig(family), Rng(seed));
  ALIGN_CHECK(model.ok()) << model.status().ToString();
  for (size_t i = 0; i < (*model)->params().specs().size(); ++i) {
    const bool vector = (*model)->params().specs()[i].shape.size() < 2;
    Rng stream = Rng(seed).Fork(i);
    for (float& v : (*model)->params().values(i)) {
      v = vector ? v + static_cast<float>(0.1 * stream.Normal()) : v * 10;
    }
  }
  return *std::move(model);
}

// One layer in which no two axes that could be mixed up have the same size.
inline ModelConfig OddConfig() {
  ModelConfig config;
  config.vocab_size = 7;
  config.hidden_size = 4;
  config.intermediate_size = 5;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 3;
  config.num_key_value_heads = 1;
  config.head_dim = 2;
  return config;
}

// A model directory with the byte tokenizer, random weights and 64 positions.
inline absl::Status SaveByteModel(const std::string& directory,
                                  bool reward = false) {
  ModelConfig config;
  if (reward) config.architecture.head = HeadKind::kSequenceClassifier;
  config.vocab_size = 258;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_hidden_layers = 1;
  config.num_attention_heads = config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.bos_token_id = 256;
  config.eos_token_ids = {257};
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                         CreateModel(config, Rng(1)));
  ALIGN_RETURN_IF_ERROR(SaveModel(*model, directory, ""));
  return WriteFileAtomically(directory + "/tokenizer_config.json",
                             R"({"tokenizer_class": "ByteTokenizer"})");
}

inline std::vector<int32_t> RandomTokens(int64_t count, Rng rng,
                                         int64_t vocab = 61) {
  std::vector<int32_t> tokens(count);
  for (int32_t& t : tokens) t = static_cast<int32_t>(rng.Below(vocab));
  return tokens;
}

}  // namespace align
