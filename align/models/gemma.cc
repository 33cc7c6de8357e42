// Gemma (Gemma Team 2024, arXiv 2403.08295): Llama with GeGLU, norm weights
// relative to 1, embeddings scaled by the root of their width, and a tied head.
#include "align/models/llama.h"
#include "align/models/model_family.h"

namespace align {
namespace {

constexpr LlamaOptions kOptions = {.weights_from_one = true,
                                   .scaled_embedding = true};

ModelConfig Defaults() {
  ModelConfig config;
  config.head_dim = 256;
  config.max_position_embeddings = 8192;
  config.activation = Activation::kGeluTanh;
  config.tie_word_embeddings = true;
  config.bos_token_id = 2;
  config.eos_token_ids = {1};
  config.pad_token_id = 0;
  return config;
}

// hidden_activation rules where it is; the first files had a wrong hidden_act,
// "gelu", and meant the form with tanh (transformers' pull request 29402).
absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(ReadLlamaShape(fields, config));
  config.activation = Activation::kGeluTanh;
  ALIGN_RETURN_IF_ERROR(
      fields.ReadActivation("hidden_activation", config.activation));
  return fields.Bool("attention_bias", config.attention_bias);
}

void Write(const ModelConfig& config, JsonWriter& json) {
  WriteLlamaShape(config, json);
  json.Field("hidden_activation", ActivationName(config.activation));
  json.Field("attention_bias", config.attention_bias);
}

}  // namespace

constexpr ModelFamily kGemmaFamily = {
    .family = Family::kGemma,
    .model_type = "gemma",
    .language_model = "GemmaForCausalLM",
    .sequence_classifier = "GemmaForSequenceClassification",
    .norm_start = 0,
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = ValidateLlama,
    .trunk_tensors = TensorsOfLlama<kOptions>,
    .make = MakeLlama<kOptions>,
};

}  // namespace align
