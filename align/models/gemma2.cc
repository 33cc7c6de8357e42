// Gemma 2 (Gemma Team 2024, arXiv 2408.00118): Gemma with soft caps on scores
// and logits, a window in every other layer, norms before and after attention
// and MLP, and a scale of scores of its own.
#include <algorithm>

#include "align/models/llama.h"
#include "align/models/model_family.h"

namespace align {
namespace {

constexpr LlamaOptions kOptions = {
    .weights_from_one = true, .scaled_embedding = true, .norms_after = true};

ModelConfig Defaults() {
  ModelConfig config;
  config.head_dim = 256;
  config.max_position_embeddings = 8192;
  config.activation = Activation::kGeluTanh;
  config.tie_word_embeddings = true;
  config.bos_token_id = 2;
  config.eos_token_ids = {1};
  config.pad_token_id = 0;
  config.sliding_window = 4096;
  config.query_scalar = 256;
  config.attention_soft_cap = 50;
  config.logit_soft_cap = 30;
  return config;
}

// Null turns a cap off.
absl::Status ReadCap(const ConfigFields& fields, const char* key, double& cap) {
  if (fields.IsNull(key)) cap = 0;
  return fields.Number(key, cap);
}

void WriteCap(const char* key, double cap, JsonWriter& json) {
  json.Key(key);
  if (cap > 0) {
    json.Value(cap);
  } else {
    json.Null();
  }
}

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(ReadLlamaShape(fields, config));
  ALIGN_RETURN_IF_ERROR(
      fields.ReadActivation("hidden_activation", config.activation));
  ALIGN_RETURN_IF_ERROR(fields.Bool("attention_bias", config.attention_bias));
  ALIGN_RETURN_IF_ERROR(
      fields.Number("query_pre_attn_scalar", config.query_scalar));
  ALIGN_RETURN_IF_ERROR(
      ReadCap(fields, "attn_logit_softcapping", config.attention_soft_cap));
  ALIGN_RETURN_IF_ERROR(
      ReadCap(fields, "final_logit_softcapping", config.logit_soft_cap));
  ALIGN_RETURN_IF_ERROR(ReadWindow(fields, config));
  constexpr int64_t kMaxLayers = 1024;  // ValidateConfig's
  for (int64_t i = 0; i < std::min(config.num_hidden_layers, kMaxLayers); ++i) {
    config.sliding_layers.push_back(i % 2 == 0);
  }
  ALIGN_RETURN_IF_ERROR(ReadLayerTypes(fields, config));
  if (config.sliding_window == 0) config.sliding_layers.clear();
  return fields.Only("use_bidirectional_attention", false);
}

void Write(const ModelConfig& config, JsonWriter& json) {
  WriteLlamaShape(config, json);
  json.Field("hidden_activation", ActivationName(config.activation));
  json.Field("attention_bias", config.attention_bias);
  json.Field("query_pre_attn_scalar", config.query_scalar);
  WriteCap("attn_logit_softcapping", config.attention_soft_cap, json);
  WriteCap("final_logit_softcapping", config.logit_soft_cap, json);
  WriteWindow(config, json);
  WriteLayerTypes(config, json);
}

}  // namespace

constexpr ModelFamily kGemma2Family = {
    .family = Family::kGemma2,
    .model_type = "gemma2",
    .language_model = "Gemma2ForCausalLM",
    .sequence_classifier = "Gemma2ForSequenceClassification",
    .norm_start = 0,
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = ValidateLlama,
    .trunk_tensors = TensorsOfLlama<kOptions>,
    .make = MakeLlama<kOptions>,
};

}  // namespace align
