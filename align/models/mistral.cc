// Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama whose rows see a window
// of the positions before them.
#include "align/models/llama.h"
#include "align/models/model_family.h"

namespace align {
namespace {

constexpr LlamaOptions kOptions = {};

ModelConfig Defaults() {
  ModelConfig config;
  config.max_position_embeddings = 131072;
  config.sliding_window = 4096;
  return config;
}

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  if (!fields.Has("num_key_value_heads")) {
    return fields.Wrong("num_key_value_heads", "an integer");
  }
  ALIGN_RETURN_IF_ERROR(ReadLlamaShape(fields, config));
  return ReadWindow(fields, config);
}

void Write(const ModelConfig& config, JsonWriter& json) {
  WriteLlamaShape(config, json);
  WriteWindow(config, json);
}

}  // namespace

constexpr ModelFamily kMistralFamily = {
    .family = Family::kMistral,
    .model_type = "mistral",
    .language_model = "MistralForCausalLM",
    .sequence_classifier = "MistralForSequenceClassification",
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = ValidateLlama,
    .trunk_tensors = TensorsOfLlama<kOptions>,
    .make = MakeLlama<kOptions>,
};

}  // namespace align
