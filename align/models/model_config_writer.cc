// The writing half of model_config.h.
#include <filesystem>
#include <string>
#include <utility>

#include "align/base/files.h"
#include "align/base/json_writer.h"
#include "align/models/config_json.h"
#include "align/models/model_config.h"
#include "align/models/model_family.h"

namespace align {
namespace {

constexpr int64_t kMaxTokenizerBytes = int64_t{256} << 20;

void OptionalId(JsonWriter& json, const char* key,
                const std::optional<int32_t>& id) {
  json.Key(key);
  if (id) {
    json.Value(*id);
  } else {
    json.Null();
  }
}

void EosIds(JsonWriter& json, const std::vector<int32_t>& ids) {
  if (ids.size() == 1) {
    json.Field("eos_token_id", ids[0]);
  } else if (ids.empty()) {
    json.Key("eos_token_id");
    json.Null();
  } else {
    json.Field("eos_token_id", ids);
  }
}

// transformers takes the number of outputs from the number of names.
void Labels(JsonWriter& json, int64_t num_labels) {
  json.Key("id2label");
  json.BeginObject();
  for (int64_t i = 0; i < num_labels; ++i) {
    json.Field(std::to_string(i), "LABEL_" + std::to_string(i));
  }
  json.EndObject();
  json.Key("label2id");
  json.BeginObject();
  for (int64_t i = 0; i < num_labels; ++i) {
    json.Field("LABEL_" + std::to_string(i), i);
  }
  json.EndObject();
}

}  // namespace

absl::StatusOr<std::string> ModelConfigJson(const ModelConfig& config,
                                            StoredDtype dtype) {
  ALIGN_RETURN_IF_ERROR(ValidateConfig(config));
  if (!ConvertsToFloat(dtype)) {
    return Unimplemented("dtype " + std::string(DtypeName(dtype)) +
                         "; F32, F16 or BF16 expected");
  }
  const ModelFamily& family = FamilyOf(config);
  JsonWriter json;
  json.BeginObject();
  json.Key("architectures");
  json.BeginArray();
  json.Value(ArchitectureName(config.architecture));
  json.EndArray();
  OptionalId(json, "bos_token_id", config.bos_token_id);
  EosIds(json, config.eos_token_ids);
  if (config.classifier()) Labels(json, config.num_labels);
  json.Field("initializer_range", 0.02);
  json.Field("model_type", family.model_type);
  OptionalId(json, "pad_token_id", config.pad_token_id);
  family.write(config, json);
  json.Field("tie_word_embeddings", config.tie_word_embeddings);
  json.Field("torch_dtype", dtype == StoredDtype::kF32   ? "float32"
                            : dtype == StoredDtype::kF16 ? "float16"
                                                         : "bfloat16");
  json.Field("use_cache", true);
  json.Field("vocab_size", config.vocab_size);
  json.EndObject();
  ALIGN_ASSIGN_OR_RETURN(const std::string text, std::move(json).Finish());
  return text + "\n";
}

absl::Status WriteModelConfig(const std::string& directory,
                              const ModelConfig& config, StoredDtype dtype) {
  const std::string path = directory + "/config.json";
  const absl::StatusOr<std::string> text = ModelConfigJson(config, dtype);
  if (!text.ok()) return Annotate(text.status(), path);
  return WriteFileAtomically(path, *text);
}

absl::Status WriteGenerationConfig(const std::string& directory,
                                   const ModelConfig& config) {
  JsonWriter json;
  json.BeginObject();
  OptionalId(json, "bos_token_id", config.bos_token_id);
  EosIds(json, config.eos_token_ids);
  OptionalId(json, "pad_token_id", config.pad_token_id);
  json.EndObject();
  ALIGN_ASSIGN_OR_RETURN(const std::string text, std::move(json).Finish());
  return WriteFileAtomically(directory + "/generation_config.json",
                             text + "\n");
}

absl::StatusOr<std::vector<std::string>> CopyTokenizerFiles(
    const std::string& from, const std::string& to) {
  std::vector<std::string> copied;
  for (const char* name :
       {"tokenizer.model", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "chat_template.jinja"}) {
    const std::string source = from + "/" + name;
    if (!FileExists(source)) continue;
    ALIGN_ASSIGN_OR_RETURN(const std::string contents,
                           ReadFile(source, kMaxTokenizerBytes));
    ALIGN_RETURN_IF_ERROR(WriteFileAtomically(to + "/" + name, contents));
    copied.push_back(name);
  }
  return copied;
}

}  // namespace align
