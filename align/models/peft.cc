#include "align/models/peft.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/base/json_document.h"
#include "align/base/json_writer.h"
#include "align/models/config_fields.h"
#include "align/models/safetensors.h"
#include "align/models/safetensors_writer.h"

namespace align {
namespace {

constexpr char kConfigFile[] = "/adapter_config.json";
constexpr char kTensorFile[] = "/adapter_model.safetensors";
constexpr char kPrefix[] = "base_model.model.";
constexpr char kScore[] = "score.weight";
constexpr char kAllLinear[] = "all-linear";
constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr size_t kMaxJsonDepth = 16;
constexpr int64_t kMaxRank = 1 << 16;

// Fields that say nothing about what the adapters compute.
constexpr const char* kHarmless[] = {
    "auto_mapping",  "fan_in_fan_out", "inference_mode",
    "megatron_core", "peft_version",   "qalora_group_size",
    "revision",      "runtime_config", "layers_pattern"};

bool IsNothing(const simdjson::dom::element& value) {
  bool flag = true;
  simdjson::dom::array list;
  simdjson::dom::object fields;
  return value.is_null() || (value.get(flag) == simdjson::SUCCESS && !flag) ||
         (value.get(list) == simdjson::SUCCESS && list.size() == 0) ||
         (value.get(fields) == simdjson::SUCCESS && fields.size() == 0);
}

// Whatever else is asked for is not done.
absl::Status RefuseOthers(const ConfigFields& fields) {
  for (const char* name : kHarmless) fields.Has(name);
  for (const std::string& name : fields.Unread()) {
    simdjson::dom::element value;
    if (fields.object()[name].get(value) != simdjson::SUCCESS ||
        IsNothing(value)) {
      continue;
    }
    const std::string text = simdjson::minify(value);
    return fields.Unsupported(name.c_str(), text.substr(0, 80),
                              "null, false or empty");
  }
  return absl::OkStatus();
}

// PiSSA and its like move a part of the base's weights into the adapters.
absl::Status CheckStart(const ConfigFields& fields) {
  simdjson::dom::element value;
  std::string_view text;
  if (!fields.Has("init_lora_weights") ||
      fields.object()["init_lora_weights"].get(value) != simdjson::SUCCESS ||
      value.is_bool()) {
    return absl::OkStatus();
  }
  if (value.get(text) != simdjson::SUCCESS) {
    return fields.Wrong("init_lora_weights", "true, false or a name");
  }
  if (text == "gaussian" || text == "orthogonal" || text == "eva") {
    return absl::OkStatus();
  }
  return fields.Unsupported("init_lora_weights", text.substr(0, 80),
                            "true, false, gaussian, orthogonal or eva");
}

absl::Status ReadTargets(const ConfigFields& fields, PeftConfig& config) {
  constexpr char kKey[] = "target_modules";
  config.lora.targets.clear();
  simdjson::dom::element value;
  std::string_view text;
  if (!fields.Has(kKey)) {
    config.any_target = true;
    return absl::OkStatus();
  }
  if (fields.object()[kKey].get(value) == simdjson::SUCCESS &&
      value.get(text) == simdjson::SUCCESS) {
    if (text == kAllLinear) {
      config.lora.targets = {kAllLinear};
    } else if (text.empty()) {
      return fields.Wrong(kKey, "a list of names or a regular expression");
    } else {
      config.lora.target_regex = std::string(text);
    }
    return absl::OkStatus();
  }
  ALIGN_RETURN_IF_ERROR(fields.Texts(kKey, config.lora.targets));
  if (config.lora.targets.empty()) return fields.Wrong(kKey, "layers");
  return absl::OkStatus();
}

// A reward model's; PEFT lists "classifier" too, for other families.
absl::Status ReadSaved(const ConfigFields& fields, PeftConfig& config) {
  std::vector<std::string> saved;
  ALIGN_RETURN_IF_ERROR(fields.Texts("modules_to_save", saved));
  for (const std::string& module : saved) {
    if (module != "score" && module != "classifier") {
      return fields.Unsupported("modules_to_save", module.substr(0, 80),
                                "score or classifier");
    }
    config.saves_score = true;
  }
  std::string task;
  ALIGN_RETURN_IF_ERROR(fields.Text("task_type", task));
  if (!task.empty() && task != "CAUSAL_LM" && task != "SEQ_CLS") {
    return fields.Unsupported("task_type", task.substr(0, 80),
                              "CAUSAL_LM or SEQ_CLS");
  }
  if (task == "SEQ_CLS") config.saves_score = true;
  return absl::OkStatus();
}

absl::Status ReadOptions(const ConfigFields& fields, LoraOptions& options) {
  options.alpha = 8;  // PEFT's defaults are its own
  ALIGN_RETURN_IF_ERROR(fields.Int("r", options.rank));
  ALIGN_RETURN_IF_ERROR(fields.Number("lora_alpha", options.alpha));
  ALIGN_RETURN_IF_ERROR(fields.Number("lora_dropout", options.dropout));
  ALIGN_RETURN_IF_ERROR(fields.Bool("use_rslora", options.use_rslora));
  ALIGN_RETURN_IF_ERROR(fields.Bool("use_dora", options.use_dora));
  if (options.rank < 1 || options.rank > kMaxRank) {
    return fields.Wrong("r", "1 to 65536");
  }
  if (!std::isfinite(options.alpha)) {
    return fields.Wrong("lora_alpha", "a finite number");
  }
  if (!(options.dropout >= 0 && options.dropout < 1)) {
    return fields.Wrong("lora_dropout", "0 or more and less than 1");
  }
  return absl::OkStatus();
}

// The tensors of one adapter in a file.
struct StoredSite {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
  const TensorInfo* magnitude = nullptr;
};

struct StoredAdapters {
  std::map<std::string, StoredSite> sites;  // by layer
  const TensorInfo* score = nullptr;
};

absl::StatusOr<StoredAdapters> SortTensors(const SafetensorsFile& file) {
  StoredAdapters stored;
  for (const TensorInfo& info : file.tensors()) {
    std::string_view name = info.name;
    const auto cut = [&](std::string_view end) {
      if (!name.ends_with(end)) return false;
      name.remove_suffix(end.size());
      return true;
    };
    bool known = name.starts_with(kPrefix);
    if (known) name.remove_prefix(sizeof kPrefix - 1);
    if (known && name == kScore) {
      stored.score = &info;
    } else if (known && cut(".lora_A.weight")) {
      stored.sites[std::string(name)].a = &info;
    } else if (known && cut(".lora_B.weight")) {
      stored.sites[std::string(name)].b = &info;
    } else if (known && (cut(".lora_magnitude_vector") ||
                         cut(".lora_magnitude_vector.weight"))) {
      stored.sites[std::string(name)].magnitude = &info;
    } else {
      return Unimplemented(file.path() + ": tensor " + info.name +
                           " is not known; lora_A, lora_B, "
                           "lora_magnitude_vector or score.weight expected");
    }
  }
  return stored;
}

absl::Status CheckTensor(const std::string& where, const std::string& name,
                         const TensorInfo* info, const Shape& shape) {
  if (info == nullptr) {
    return InvalidArgument(where + ": tensor " + name + " is missing");
  }
  if (info->shape != shape) {
    return InvalidArgument(where + ": tensor " + name + " has shape " +
                           ShapeText(info->shape) + "; " + ShapeText(shape) +
                           " expected");
  }
  if (!ConvertsToFloat(info->dtype)) {
    return Unimplemented(where + ": tensor " + name + " has dtype " +
                         std::string(DtypeName(info->dtype)) +
                         "; F32, F16 or BF16 expected");
  }
  return absl::OkStatus();
}

// The layers that the file has adapters for, in the model's order.
absl::StatusOr<std::vector<LoraSite>> SitesOf(const std::string& where,
                                              const PeftConfig& config,
                                              const StoredAdapters& stored,
                                              const ModelConfig& model) {
  std::set<std::string> targets;
  const bool listed = !config.any_target && config.lora.target_regex.empty();
  if (listed) {
    ALIGN_ASSIGN_OR_RETURN(const std::vector<LoraSite> layers,
                           TargetLayers(model, config.lora));
    for (const LoraSite& layer : layers) targets.insert(layer.module);
  }
  std::vector<LoraSite> sites;
  for (const LoraSite& layer : LinearLayers(model)) {
    if (stored.sites.contains(layer.module)) sites.push_back(layer);
  }
  for (const auto& [layer, tensors] : stored.sites) {
    if (std::ranges::count(sites, layer, &LoraSite::module) == 0) {
      return InvalidArgument(where + ": the model has no linear layer " +
                             layer.substr(0, 256));
    }
    if (listed && !targets.contains(layer)) {
      return InvalidArgument(where + ": " + layer +
                             " is not in target_modules of "
                             "adapter_config.json");
    }
    if ((tensors.magnitude != nullptr) != config.lora.use_dora) {
      return InvalidArgument(
          where + ": " + layer + ": lora_magnitude_vector " +
          (config.lora.use_dora ? "is missing" : "is there") +
          ", but use_dora is " + (config.lora.use_dora ? "true" : "false"));
    }
  }
  if (!sites.empty()) return sites;
  return InvalidArgument(where + ": no adapter in it");
}

absl::Status CopyTensor(const std::string& where, const TensorInfo* info,
                        const std::string& name, ParamStore& params) {
  Tensor into = params.Get(name);
  return Annotate(CopyToFloat(*info, into.values()), where + ": " + name);
}

void WriteTargets(const LoraOptions& options, JsonWriter& json) {
  if (!options.target_regex.empty()) {
    json.Field("target_modules", options.target_regex);
  } else if (options.targets.empty()) {
    json.Key("target_modules");
    json.Null();
  } else if (options.targets == std::vector<std::string>{kAllLinear}) {
    json.Field("target_modules", kAllLinear);
  } else {
    json.Field("target_modules", options.targets);
  }
}

absl::Status WriteConfig(const std::string& path, const Model& model,
                         const std::string& base) {
  const LoraAdapters& adapters = *model.adapters();
  const LoraOptions& options = adapters.options();
  const bool classifier = model.config().classifier();
  JsonWriter json;
  json.BeginObject();
  json.Field("base_model_name_or_path", base);
  json.Field("bias", "none");
  json.Field("fan_in_fan_out",
             adapters.sites()[0].layout == WeightLayout::kInOut);
  json.Field("inference_mode", true);
  json.Field("init_lora_weights", true);
  if (options.alpha == std::floor(options.alpha) &&
      std::abs(options.alpha) < 1e15) {
    json.Field("lora_alpha", static_cast<int64_t>(options.alpha));
  } else {
    json.Field("lora_alpha", options.alpha);
  }
  json.Field("lora_dropout", options.dropout);
  json.Key("modules_to_save");
  if (adapters.whole().empty()) {
    json.Null();
  } else {
    json.BeginArray();
    json.Value("score");
    json.EndArray();
  }
  json.Field("peft_type", "LORA");
  json.Field("r", options.rank);
  WriteTargets(options, json);
  json.Field("task_type", classifier ? "SEQ_CLS" : "CAUSAL_LM");
  json.Field("use_dora", options.use_dora);
  json.Field("use_rslora", options.use_rslora);
  json.EndObject();
  ALIGN_ASSIGN_OR_RETURN(const std::string text, std::move(json).Finish());
  return WriteFileAtomically(path, text + "\n");
}

}  // namespace

absl::StatusOr<PeftConfig> ParsePeftConfig(std::string_view json,
                                           const std::string& where) {
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const simdjson::dom::object root,
                         ParseJsonObject(parser, json, where, kMaxJsonDepth));
  const ConfigFields fields(root, where);
  PeftConfig config;
  std::string type, bias = "none";
  ALIGN_RETURN_IF_ERROR(fields.Text("peft_type", type));
  if (type.empty()) return fields.Wrong("peft_type", "\"LORA\"");
  if (type != "LORA") {
    return fields.Unsupported("peft_type", type.substr(0, 80), "LORA");
  }
  ALIGN_RETURN_IF_ERROR(fields.Only("bias", std::string("none")));
  ALIGN_RETURN_IF_ERROR(fields.Text("base_model_name_or_path", config.base));
  ALIGN_RETURN_IF_ERROR(ReadOptions(fields, config.lora));
  ALIGN_RETURN_IF_ERROR(CheckStart(fields));
  ALIGN_RETURN_IF_ERROR(ReadTargets(fields, config));
  ALIGN_RETURN_IF_ERROR(ReadSaved(fields, config));
  ALIGN_RETURN_IF_ERROR(RefuseOthers(fields));
  return config;
}

absl::StatusOr<PeftConfig> ReadPeftConfig(const std::string& directory) {
  const std::string path = directory + kConfigFile;
  ALIGN_ASSIGN_OR_RETURN(const std::string json,
                         ReadFile(path, kMaxConfigBytes));
  return ParsePeftConfig(json, path);
}

bool IsAdapterDirectory(const std::string& directory) {
  return FileExists(directory + kConfigFile);
}

absl::StatusOr<std::string> BaseDirectory(const std::string& directory,
                                          const std::string& override) {
  ALIGN_ASSIGN_OR_RETURN(const PeftConfig config, ReadPeftConfig(directory));
  const std::string named = override.empty() ? config.base : override;
  std::string base = named;
  if (override.empty() && !named.starts_with('/') &&
      FileExists(directory + "/" + named + "/config.json")) {
    base = directory + "/" + named;
  }
  if (named.empty() ||
      (!FileExists(base + "/config.json") && !IsAdapterDirectory(base))) {
    return NotFound(directory + ": its base '" + named.substr(0, 256) +
                    "' is no model directory here; expected the path of one "
                    "in base_model_name_or_path, or given beside");
  }
  if (IsAdapterDirectory(base)) {
    return InvalidArgument(directory + ": its base " + base.substr(0, 256) +
                           " is an adapter itself; expected a whole model "
                           "(align merge makes one)");
  }
  return base;
}

absl::StatusOr<ModelConfig> ConfigOf(const std::string& directory,
                                     const std::string& base) {
  if (!IsAdapterDirectory(directory)) return ReadModelConfig(directory);
  ALIGN_ASSIGN_OR_RETURN(const PeftConfig peft, ReadPeftConfig(directory));
  ALIGN_ASSIGN_OR_RETURN(const std::string trunk,
                         BaseDirectory(directory, base));
  ALIGN_ASSIGN_OR_RETURN(ModelConfig config, ReadModelConfig(trunk));
  if (peft.saves_score && !config.classifier()) {
    config.architecture.head = HeadKind::kSequenceClassifier;
    config.num_labels = 1;
  }
  return config;
}

std::string DirectoryOfTokenizer(const std::string& directory,
                                 const std::string& base) {
  if (!IsAdapterDirectory(directory)) return directory;
  for (const char* name :
       {"/tokenizer.json", "/tokenizer.model", "/tokenizer_config.json"}) {
    if (FileExists(directory + name)) return directory;
  }
  const absl::StatusOr<std::string> found = BaseDirectory(directory, base);
  return found.ok() ? *found : directory;
}

absl::Status LoadAdapters(const std::string& directory, Model& model) {
  ALIGN_ASSIGN_OR_RETURN(const PeftConfig config, ReadPeftConfig(directory));
  const std::string where = directory + kTensorFile;
  ALIGN_ASSIGN_OR_RETURN(const SafetensorsFile file,
                         SafetensorsFile::Open(where));
  ALIGN_ASSIGN_OR_RETURN(const StoredAdapters stored, SortTensors(file));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<LoraSite> sites,
                         SitesOf(where, config, stored, model.config()));
  std::vector<ParamSpec> whole;
  if (stored.score != nullptr) {
    if (!model.params().Has(kScore)) {
      return InvalidArgument(where + ": score.weight is for a classifier");
    }
    whole.push_back(
        {.name = kScore, .shape = model.params().Get(kScore).shape()});
  }
  const int64_t rank = config.lora.rank;
  std::vector<std::pair<std::string, const TensorInfo*>> tensors;
  const auto take = [&](const std::string& name, const TensorInfo* info,
                        const Shape& shape) {
    tensors.emplace_back(LoraAdapters::ArenaName(name), info);
    return CheckTensor(where, tensors.back().first, info, shape);
  };
  for (const LoraSite& site : sites) {
    const StoredSite& from = stored.sites.at(site.module);
    ALIGN_RETURN_IF_ERROR(
        take(site.module + ".lora_A.weight", from.a, {rank, site.inputs}));
    ALIGN_RETURN_IF_ERROR(
        take(site.module + ".lora_B.weight", from.b, {site.outputs, rank}));
    if (!config.lora.use_dora) continue;
    ALIGN_RETURN_IF_ERROR(take(site.module + ".lora_magnitude_vector",
                               from.magnitude, {site.outputs}));
  }
  if (stored.score != nullptr) {
    ALIGN_RETURN_IF_ERROR(take(kScore, stored.score, whole[0].shape));
  }
  auto adapters = std::make_unique<LoraAdapters>(config.lora, sites, whole);
  for (const auto& [name, info] : tensors) {
    ALIGN_RETURN_IF_ERROR(CopyTensor(where, info, name, adapters->params()));
  }
  model.params().Freeze();
  model.SetAdapters(std::move(adapters));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> LoadAdaptedModel(
    const std::string& directory, const std::string& base) {
  ALIGN_ASSIGN_OR_RETURN(const PeftConfig config, ReadPeftConfig(directory));
  ALIGN_ASSIGN_OR_RETURN(const std::string trunk,
                         BaseDirectory(directory, base));
  // The score head that it would draw is the adapters' own.
  ALIGN_ASSIGN_OR_RETURN(
      std::unique_ptr<Model> model,
      config.saves_score ? LoadRewardModel(trunk, Rng()) : LoadModel(trunk));
  ALIGN_RETURN_IF_ERROR(LoadAdapters(directory, *model));
  if (config.saves_score && model->adapters()->whole().empty()) {
    return InvalidArgument(directory + kTensorFile + ": tensor " + kPrefix +
                           kScore +
                           " is missing, which modules_to_save of "
                           "adapter_config.json lists");
  }
  return model;
}

absl::Status SaveAdapters(const Model& model, const std::string& directory,
                          const std::string& base,
                          const std::string& tokenizer_directory,
                          WeightFormat format) {
  ALIGN_CHECK(model.adapters() != nullptr) << "[SaveAdapters] there are none";
  ALIGN_RETURN_IF_ERROR(MakeDirectories(directory));
  std::vector<TensorToWrite> tensors;
  const ParamStore& params = model.adapters()->params();
  for (const ParamSpec& spec : params.specs()) {
    tensors.push_back({.name = spec.name,
                       .shape = spec.shape,
                       .values = params.Get(spec.name).values()});
  }
  ALIGN_RETURN_IF_ERROR(WriteSafetensors(
      directory + kTensorFile, std::move(tensors),
      {.dtype = format == WeightFormat::kF32 ? StoredDtype::kF32
                                             : StoredDtype::kBF16}));
  ALIGN_RETURN_IF_ERROR(WriteConfig(directory + kConfigFile, model, base));
  if (tokenizer_directory.empty()) return absl::OkStatus();
  return CopyTokenizerFiles(tokenizer_directory, directory).status();
}

void RemoveAdapterConfig(const std::string& directory) {
  std::error_code ignored;
  std::filesystem::remove(directory + kConfigFile, ignored);
}

}  // namespace align
