// Qwen 2 and 2.5 (Yang et al. 2024, arXiv 2407.10671): Llama with biases on
// queries, keys and values.
#include "align/models/llama.h"
#include "align/models/model_family.h"

namespace align {
namespace {

constexpr LlamaOptions kOptions = {.output_bias = false};

ModelConfig Defaults() {
  ModelConfig config;
  config.attention_bias = true;
  config.max_position_embeddings = 32768;
  config.bos_token_id.reset();
  config.eos_token_ids.clear();
  return config;
}

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(ReadLlamaShape(fields, config));
  return ReadLateWindow(fields, config);
}

void Write(const ModelConfig& config, JsonWriter& json) {
  WriteLlamaShape(config, json);
  WriteLateWindow(config, json);
}

}  // namespace

constexpr ModelFamily kQwen2Family = {
    .family = Family::kQwen2,
    .model_type = "qwen2",
    .language_model = "Qwen2ForCausalLM",
    .sequence_classifier = "Qwen2ForSequenceClassification",
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = ValidateLlama,
    .trunk_tensors = TensorsOfLlama<kOptions>,
    .make = MakeLlama<kOptions>,
};

}  // namespace align
