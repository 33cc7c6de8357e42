#pragma once

#include <memory>
#include <vector>

#include "align/base/check.h"
#include "align/models/model.h"

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
  if (reward) {
    config.architecture = Architecture::kLlamaForSequenceClassification;
  }
  auto model = CreateModel(config, Rng(seed));
  ALIGN_CHECK(model.ok()) << model.status().ToString();
  for (size_t i = 0; i < (*model)->params().specs().size(); ++i) {
    if ((*model)->params().specs()[i].shape.size() < 2) continue;
    for (float& v : (*model)->params().values(i)) v *= 10;
  }
  return *std::move(model);
}

inline std::vector<int32_t> RandomTokens(int64_t count, Rng rng,
                                         int64_t vocab = 61) {
  std::vector<int32_t> tokens(count);
  for (int32_t& t : tokens) t = static_cast<int32_t>(rng.Below(vocab));
  return tokens;
}

}  // namespace align
