#include "align/models/tensor_spec.h"

#include <set>
#include <utility>

namespace align {
namespace {

void AddLinear(std::vector<TensorSpec>& specs, const std::string& name,
               int64_t outputs, int64_t inputs, bool bias) {
  specs.push_back({name + ".weight", {outputs, inputs}});
  if (bias) specs.push_back({name + ".bias", {outputs}});
}

void AddLayer(std::vector<TensorSpec>& specs, const ModelConfig& config,
              int64_t layer) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const std::string attention = prefix + "self_attn.";
  const std::string mlp = prefix + "mlp.";
  const int64_t width = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  const int64_t queries = config.num_attention_heads * config.head_dim;
  const int64_t keys = config.num_key_value_heads * config.head_dim;
  specs.push_back({prefix + "input_layernorm.weight", {width}});
  AddLinear(specs, attention + "q_proj", queries, width, config.attention_bias);
  AddLinear(specs, attention + "k_proj", keys, width, config.attention_bias);
  AddLinear(specs, attention + "v_proj", keys, width, config.attention_bias);
  AddLinear(specs, attention + "o_proj", width, queries, config.attention_bias);
  specs.push_back({prefix + "post_attention_layernorm.weight", {width}});
  AddLinear(specs, mlp + "gate_proj", inner, width, config.mlp_bias);
  AddLinear(specs, mlp + "up_proj", inner, width, config.mlp_bias);
  AddLinear(specs, mlp + "down_proj", width, inner, config.mlp_bias);
}

absl::Status Missing(const std::vector<std::string>& names,
                     const CheckpointReader& reader) {
  std::string message =
      reader.directory() + ": tensor " + names[0] + " is missing";
  if (names.size() > 1) {
    message += " (and " + std::to_string(names.size() - 1) + " more)";
  }
  return InvalidArgument(message);
}

}  // namespace

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  std::vector<TensorSpec> specs;
  specs.push_back(
      {"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}});
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    AddLayer(specs, config, layer);
  }
  specs.push_back({"model.norm.weight", {config.hidden_size}});
  if (config.architecture == Architecture::kLlamaForSequenceClassification) {
    AddLinear(specs, "score", config.num_labels, config.hidden_size, false);
  } else if (!config.tie_word_embeddings) {
    AddLinear(specs, "lm_head", config.vocab_size, config.hidden_size, false);
  }
  return specs;
}

absl::StatusOr<std::vector<std::string>> CheckTensors(
    const ModelConfig& config, const CheckpointReader& reader) {
  const std::vector<std::string> names = reader.Names();
  std::set<std::string> extra(names.begin(), names.end());
  std::vector<std::string> missing;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const TensorInfo* found = reader.Find(spec.name);
    if (found == nullptr) {
      missing.push_back(spec.name);
      continue;
    }
    extra.erase(spec.name);
    const std::string where = reader.directory() + ": tensor " + spec.name;
    if (found->shape != spec.shape) {
      return InvalidArgument(where + " has shape " + ShapeText(found->shape) +
                             "; " + ShapeText(spec.shape) +
                             " expected from config.json");
    }
    if (!ConvertsToFloat(found->dtype)) {
      return Unimplemented(where + " has dtype " +
                           std::string(DtypeName(found->dtype)) +
                           "; F32, F16 or BF16 expected");
    }
  }
  if (!missing.empty()) return Missing(missing, reader);
  return std::vector<std::string>(extra.begin(), extra.end());
}

}  // namespace align
