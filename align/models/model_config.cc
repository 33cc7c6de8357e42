#include "align/models/model_config.h"

#include <simdjson.h>

#include <cmath>
#include <utility>

#include "align/base/files.h"
#include "align/base/json_document.h"

namespace align {
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr size_t kMaxJsonDepth = 64;
constexpr size_t kMaxEosIds = 1024;

// Bounds that keep every count of elements or bytes below 2^60.
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxPositions = int64_t{1} << 30;

// The fields of config.json, with messages that name them. A field that is
// absent leaves its default in place.
class Fields {
 public:
  Fields(simdjson::dom::object object, std::string where)
      : object_(object), where_(std::move(where)) {}

  // Absent and null are the same to transformers for most fields.
  bool Has(const char* key) const {
    simdjson::dom::element value;
    return object_[key].get(value) == simdjson::SUCCESS && !value.is_null();
  }
  bool IsNull(const char* key) const {
    simdjson::dom::element value;
    return object_[key].get(value) == simdjson::SUCCESS && value.is_null();
  }

  template <typename T>
  absl::Status Read(const char* key, const char* expected, T& value) const {
    if (!Has(key)) return absl::OkStatus();
    T read;
    if (object_[key].get(read) != simdjson::SUCCESS) {
      return Wrong(key, expected);
    }
    value = read;
    return absl::OkStatus();
  }
  absl::Status Int(const char* key, int64_t& value) const {
    return Read(key, "an integer", value);
  }
  absl::Status Required(const char* key, int64_t& value) const {
    if (!Has(key)) return Wrong(key, "an integer");
    return Int(key, value);
  }
  absl::Status Wrong(const char* key, const std::string& expected) const {
    return InvalidArgument(where_ + ": " + key + ": " + expected + " expected");
  }

  const simdjson::dom::object& object() const { return object_; }
  const std::string& where() const { return where_; }

 private:
  simdjson::dom::object object_;
  std::string where_;
};

absl::StatusOr<Architecture> ReadArchitecture(const Fields& fields) {
  std::string_view name;
  if (fields.object()["architectures"].at(0).get(name) != simdjson::SUCCESS) {
    return fields.Wrong("architectures", "a list with the model's class");
  }
  for (const Architecture known :
       {Architecture::kLlamaForCausalLM,
        Architecture::kLlamaForSequenceClassification}) {
    if (ArchitectureName(known) == name) return known;
  }
  return Unimplemented(fields.where() + ": architecture " +
                       std::string(name.substr(0, 128)) +
                       " is not supported; LlamaForCausalLM or "
                       "LlamaForSequenceClassification expected");
}

// One id. -1 is how early Llama files spelled "none".
absl::StatusOr<std::optional<int32_t>> ReadId(const Fields& fields,
                                              const char* key,
                                              simdjson::dom::element value) {
  int64_t id = 0;
  if (value.get(id) != simdjson::SUCCESS || id < -1 || id > INT32_MAX) {
    return fields.Wrong(key, "a token id");
  }
  if (id < 0) return std::optional<int32_t>();
  return std::optional<int32_t>(static_cast<int32_t>(id));
}

absl::Status ReadOptionalId(const Fields& fields, const char* key,
                            std::optional<int32_t>& id) {
  if (fields.IsNull(key)) id.reset();
  if (!fields.Has(key)) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(
      id, ReadId(fields, key, fields.object()[key].value_unsafe()));
  return absl::OkStatus();
}

absl::Status ReadEosIds(const Fields& fields, std::vector<int32_t>& ids) {
  constexpr const char* kKey = "eos_token_id";
  if (fields.IsNull(kKey)) ids.clear();
  if (!fields.Has(kKey)) return absl::OkStatus();
  ids.clear();
  simdjson::dom::array list;
  if (fields.object()[kKey].get(list) != simdjson::SUCCESS) {
    std::optional<int32_t> id;
    ALIGN_RETURN_IF_ERROR(ReadOptionalId(fields, kKey, id));
    if (id) ids.push_back(*id);
    return absl::OkStatus();
  }
  for (const simdjson::dom::element value : list) {
    ALIGN_ASSIGN_OR_RETURN(const std::optional<int32_t> id,
                           ReadId(fields, kKey, value));
    if (!id || ids.size() == kMaxEosIds) {
      return fields.Wrong(kKey, "a token id or a list of at most 1024");
    }
    ids.push_back(*id);
  }
  return absl::OkStatus();
}

// rope_theta, and a refusal of every scaling: computing without it would give
// other numbers in silence. Newer files nest both in rope_parameters.
absl::Status ReadRope(const Fields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(
      fields.Read("rope_theta", "a number", config.rope_theta));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!fields.Has(key)) continue;
    simdjson::dom::object object;
    if (fields.object()[key].get(object) != simdjson::SUCCESS) {
      return fields.Wrong(key, "null or an object");
    }
    const Fields rope(object, fields.where() + ": " + key);
    std::string_view type = "unnamed";
    ALIGN_RETURN_IF_ERROR(rope.Read("type", "a string", type));
    ALIGN_RETURN_IF_ERROR(rope.Read("rope_type", "a string", type));
    if (type != "default") {
      return Unimplemented(fields.where() + ": " + key + " of type " +
                           std::string(type.substr(0, 64)) +
                           " is not supported; null expected");
    }
    ALIGN_RETURN_IF_ERROR(
        rope.Read("rope_theta", "a number", config.rope_theta));
  }
  return absl::OkStatus();
}

// transformers counts id2label; a bare num_labels comes from hand-made files.
absl::Status ReadLabelCount(const Fields& fields, int64_t& num_labels) {
  if (!fields.Has("id2label")) {
    num_labels = 2;
    return fields.Int("num_labels", num_labels);
  }
  simdjson::dom::object labels;
  ALIGN_RETURN_IF_ERROR(fields.Read("id2label", "an object", labels));
  num_labels = static_cast<int64_t>(labels.size());
  return absl::OkStatus();
}

absl::Status ReadSizes(const Fields& fields, ModelConfig& config) {
  for (const auto& [key, value] :
       {std::pair{"vocab_size", &config.vocab_size},
        {"hidden_size", &config.hidden_size},
        {"intermediate_size", &config.intermediate_size},
        {"num_hidden_layers", &config.num_hidden_layers},
        {"num_attention_heads", &config.num_attention_heads}}) {
    ALIGN_RETURN_IF_ERROR(fields.Required(key, *value));
  }
  config.num_key_value_heads = config.num_attention_heads;
  ALIGN_RETURN_IF_ERROR(
      fields.Int("num_key_value_heads", config.num_key_value_heads));
  if (!fields.Has("head_dim")) {
    if (config.num_attention_heads <= 0 ||
        config.hidden_size % config.num_attention_heads != 0) {
      return fields.Wrong("hidden_size", "a multiple of num_attention_heads");
    }
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  ALIGN_RETURN_IF_ERROR(fields.Int("head_dim", config.head_dim));
  return fields.Int("max_position_embeddings", config.max_position_embeddings);
}

absl::Status Bad(const std::string& name, const std::string& value,
                 const std::string& expected) {
  return InvalidArgument(name + " is " + value + "; " + expected + " expected");
}

absl::Status CheckIds(const ModelConfig& config) {
  std::vector<int32_t> ids = config.eos_token_ids;
  if (config.bos_token_id) ids.push_back(*config.bos_token_id);
  if (config.pad_token_id) ids.push_back(*config.pad_token_id);
  for (const int32_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      return Bad("a bos, eos or pad token id", std::to_string(id),
                 "at least 0 and below vocab_size " +
                     std::to_string(config.vocab_size));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view ArchitectureName(Architecture architecture) {
  return architecture == Architecture::kLlamaForCausalLM
             ? "LlamaForCausalLM"
             : "LlamaForSequenceClassification";
}

absl::Status ValidateConfig(const ModelConfig& config) {
  struct Range {
    const char* name;
    int64_t value;
    int64_t most;
  };
  for (const Range& range : {
           Range{"vocab_size", config.vocab_size, kMaxVocabulary},
           Range{"hidden_size", config.hidden_size, kMaxWidth},
           Range{"intermediate_size", config.intermediate_size, kMaxWidth},
           Range{"num_hidden_layers", config.num_hidden_layers, kMaxLayers},
           Range{"num_attention_heads", config.num_attention_heads, kMaxWidth},
           Range{"num_key_value_heads", config.num_key_value_heads, kMaxWidth},
           Range{"head_dim", config.head_dim, kMaxWidth},
           Range{"max_position_embeddings", config.max_position_embeddings,
                 kMaxPositions},
           Range{"num_labels", config.num_labels, kMaxWidth},
       }) {
    if (range.value < 1 || range.value > range.most) {
      return Bad(range.name, std::to_string(range.value),
                 "1 to " + std::to_string(range.most));
    }
  }
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    return Bad("num_attention_heads",
               std::to_string(config.num_attention_heads),
               "a multiple of num_key_value_heads " +
                   std::to_string(config.num_key_value_heads));
  }
  if (config.head_dim % 2 != 0) {
    return Bad("head_dim", std::to_string(config.head_dim), "an even number");
  }
  if (config.num_attention_heads * config.head_dim > kMaxWidth) {
    return Bad("num_attention_heads * head_dim",
               std::to_string(config.num_attention_heads * config.head_dim),
               "at most " + std::to_string(kMaxWidth));
  }
  if (!(config.rms_norm_eps >= 0) || !(config.rms_norm_eps < 1)) {
    return Bad("rms_norm_eps", std::to_string(config.rms_norm_eps), "0 to 1");
  }
  if (!(config.rope_theta > 0) || !std::isfinite(config.rope_theta)) {
    return Bad("rope_theta", std::to_string(config.rope_theta),
               "a positive number");
  }
  return CheckIds(config);
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json,
                                             const std::string& where) {
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const simdjson::dom::object root,
                         ParseJsonObject(parser, json, where, kMaxJsonDepth));
  const Fields fields(root, where);
  ModelConfig config;
  ALIGN_ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(fields));
  std::string_view activation = "silu";
  ALIGN_RETURN_IF_ERROR(fields.Read("hidden_act", "a string", activation));
  if (activation != "silu") {
    return Unimplemented(where + ": hidden_act " +
                         std::string(activation.substr(0, 64)) +
                         " is not supported; silu expected");
  }
  ALIGN_RETURN_IF_ERROR(ReadSizes(fields, config));
  ALIGN_RETURN_IF_ERROR(ReadRope(fields, config));
  ALIGN_RETURN_IF_ERROR(
      fields.Read("rms_norm_eps", "a number", config.rms_norm_eps));
  for (const auto& [key, value] :
       {std::pair{"tie_word_embeddings", &config.tie_word_embeddings},
        {"attention_bias", &config.attention_bias},
        {"mlp_bias", &config.mlp_bias}}) {
    ALIGN_RETURN_IF_ERROR(fields.Read(key, "true or false", *value));
  }
  ALIGN_RETURN_IF_ERROR(
      ReadOptionalId(fields, "bos_token_id", config.bos_token_id));
  ALIGN_RETURN_IF_ERROR(
      ReadOptionalId(fields, "pad_token_id", config.pad_token_id));
  ALIGN_RETURN_IF_ERROR(ReadEosIds(fields, config.eos_token_ids));
  if (config.architecture == Architecture::kLlamaForSequenceClassification) {
    ALIGN_RETURN_IF_ERROR(ReadLabelCount(fields, config.num_labels));
  }
  const absl::Status valid = ValidateConfig(config);
  if (!valid.ok()) return Annotate(valid, where);
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::string path = directory + "/config.json";
  ALIGN_ASSIGN_OR_RETURN(const std::string json,
                         ReadFile(path, kMaxConfigBytes));
  return ParseModelConfig(json, path);
}

}  // namespace align
