#pragma once

#include <memory>
#include <string>
#include <vector>

#include "align/base/check.h"
#include "align/base/files.h"
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
  if (reward) {
    config.architecture = Architecture::kLlamaForSequenceClassification;
  }
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
