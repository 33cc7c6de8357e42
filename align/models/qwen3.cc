// Qwen 3 (Yang et al. 2025, arXiv 2505.09388): Llama with heads of their own
// size, whose queries and keys are normalised before they rotate.
#include "align/models/llama.h"
#include "align/models/model_family.h"

namespace align {
namespace {

constexpr LlamaOptions kOptions = {.query_key_norm = true};

ModelConfig Defaults() {
  ModelConfig config;
  config.head_dim = 128;
  config.max_position_embeddings = 32768;
  config.bos_token_id.reset();
  config.eos_token_ids.clear();
  return config;
}

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(ReadLlamaShape(fields, config));
  ALIGN_RETURN_IF_ERROR(fields.Bool("attention_bias", config.attention_bias));
  return ReadLateWindow(fields, config);
}

void Write(const ModelConfig& config, JsonWriter& json) {
  WriteLlamaShape(config, json);
  json.Field("attention_bias", config.attention_bias);
  WriteLateWindow(config, json);
}

}  // namespace

constexpr ModelFamily kQwen3Family = {
    .family = Family::kQwen3,
    .model_type = "qwen3",
    .language_model = "Qwen3ForCausalLM",
    .sequence_classifier = "Qwen3ForSequenceClassification",
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = ValidateLlama,
    .trunk_tensors = TensorsOfLlama<kOptions>,
    .make = MakeLlama<kOptions>,
};

}  // namespace align
