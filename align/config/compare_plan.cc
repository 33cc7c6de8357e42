#include "align/config/compare_plan.h"

#include <algorithm>
#include <utility>

#include "align/base/files.h"
#include "align/config/parse.h"
#include "align/config/settings.h"
#include "align/dnnl/precision.h"
#include "align/models/peft.h"
#include "losses/registry.h"
#include "proto/compare.pb.h"
#include "proto/config.pb.h"

namespace align {
namespace {

// Part of every key: raised when a stage's output changes for the same config.
constexpr char kVersion[] = "1";

const std::vector<std::string>& AllMethods() {
  static const auto* const methods =
      new std::vector<std::string>{"sft", "best_of_n", "dpo", "rso", "ppo"};
  return *methods;
}

// Names and content of the files in a model directory that decide its outputs.
absl::StatusOr<std::string> DirectoryKey(const std::string& directory) {
  std::string key;
  for (const char* name :
       {"config.json", "model.safetensors", "model.safetensors.index.json",
        "adapter_config.json", "adapter_model.safetensors", "tokenizer.model",
        "tokenizer_config.json"}) {
    const std::string path = directory + "/" + name;
    if (!FileExists(path)) continue;
    ALIGN_ASSIGN_OR_RETURN(const std::string hash, FileContentHash(path));
    key += std::string(name) + "=" + hash + "\n";
  }
  if (key.empty()) return NotFound(directory + ": no model files");
  return key;
}

// The keys of everything outside the job that its results depend on.
absl::StatusOr<std::string> InputsKey(const pb::CompareConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(std::string key, DirectoryKey(config.base().path()));
  if (IsAdapterDirectory(config.base().path())) {
    ALIGN_ASSIGN_OR_RETURN(
        const std::string base,
        BaseDirectory(config.base().path(), config.base().base()));
    ALIGN_ASSIGN_OR_RETURN(const std::string base_key, DirectoryKey(base));
    key += base_key;
  }
  if (config.base().has_tokenizer()) {
    ALIGN_ASSIGN_OR_RETURN(const std::string tokenizer,
                           DirectoryKey(config.base().tokenizer()));
    key += tokenizer;
  }
  // Jobs in f32 keep the keys that they had before there was a choice.
  ALIGN_ASSIGN_OR_RETURN(const Precision precision, ComparePrecision(config));
  if (precision != Precision::kF32) {
    key += "precision " + PrecisionName(precision) + "\n";
  }
  std::vector<std::string> files;
  if (config.prompts().has_texts()) files.push_back(config.prompts().texts());
  if (config.gold().has_lexicon()) files.push_back(config.gold().lexicon());
  for (const std::string& path : config.sft().data()) files.push_back(path);
  for (const std::string& path : files) {
    ALIGN_ASSIGN_OR_RETURN(const std::string hash, FileContentHash(path));
    key += hash + "\n";
  }
  if (config.gold().has_reward_model()) {
    ALIGN_ASSIGN_OR_RETURN(const std::string gold,
                           DirectoryKey(config.gold().reward_model()));
    key += gold;
  }
  return key;
}

absl::Status CheckCompare(const pb::CompareConfig& config) {
  if (!config.base().has_path()) {
    return InvalidArgument("base.path is not set; expected a model directory");
  }
  if (config.base().has_lora()) {
    return InvalidArgument("base.lora: not a key of `align compare`");
  }
  if (config.gold().has_lexicon() == config.gold().has_reward_model()) {
    return InvalidArgument(
        "gold: expected exactly one of gold.lexicon and gold.reward_model");
  }
  if (config.prompts().has_texts() == config.prompts().sampled()) {
    return InvalidArgument(
        "prompts: expected exactly one of prompts.texts and "
        "prompts.sampled: true");
  }
  for (const std::string& method : config.methods()) {
    if (std::ranges::count(AllMethods(), method) == 0) {
      return InvalidArgument(
          "methods: " + losses::UnknownName("method", method, AllMethods()));
    }
  }
  return ComparePrecision(config).status();
}

// The part of the config that the stage itself reads, as text.
std::string StageConfig(const pb::CompareConfig& config,
                        const std::string& stage) {
  std::string text = "seed " + std::to_string(config.seed()) + "\n" +
                     ConfigText(config.sampling());
  if (stage == "prompts") return text + ConfigText(config.prompts());
  if (stage == "sft") return text + ConfigText(config.sft());
  if (stage == "pairs") return text + ConfigText(config.pairs());
  if (stage == "reward_model") return text + ConfigText(config.reward_model());
  if (stage == "dpo") return text + ConfigText(config.dpo());
  if (stage == "rso") return text + ConfigText(config.rso());
  if (stage == "ppo") return text + ConfigText(config.ppo());
  text += std::to_string(config.eval_samples());
  if (stage == "eval_best_of_n") text += ConfigText(config.best_of_n());
  return text;
}

// The settings of a stage that trains; null for others.
const pb::StageTraining* TrainingOf(const pb::CompareConfig& config,
                                    const std::string& stage) {
  if (stage == "sft" && config.sft().enabled()) {
    return &config.sft().training();
  }
  if (stage == "reward_model") return &config.reward_model();
  if (stage == "dpo") return &config.dpo().training();
  if (stage == "rso") return &config.rso().training();
  if (stage == "ppo") return &config.ppo().training();
  return nullptr;
}

// What would otherwise stop the job, or never end it, an hour later.
absl::Status CheckTraining(const pb::CompareConfig& config,
                           const std::vector<CompareStage>& stages) {
  if (config.sft().enabled() && config.sft().data().empty()) {
    return InvalidArgument("sft.data: expected at least one record file");
  }
  for (const CompareStage& stage : stages) {
    const pb::StageTraining* training = TrainingOf(config, stage.name);
    if (training == nullptr) continue;
    const std::string key =
        stage.name + (stage.name == "reward_model" ? "" : ".training");
    if (training->steps() < 1) {
      return InvalidArgument(key + ".steps: expected at least 1");
    }
    ALIGN_RETURN_IF_ERROR(Annotate(
        ReadOptimizer(training->optimizer(), training->steps()).status(), key));
  }
  return absl::OkStatus();
}

std::vector<std::string> Methods(const pb::CompareConfig& config) {
  if (config.methods().empty()) return AllMethods();
  std::vector<std::string> methods = {"sft"};  // what others are held against
  for (const std::string& method : AllMethods()) {
    if (method != "sft" && std::ranges::count(config.methods(), method) > 0) {
      methods.push_back(method);
    }
  }
  return methods;
}

}  // namespace

std::vector<std::string> EarlierStages(const std::string& method) {
  if (method == "sft") return {"prompts"};
  if (method == "dpo") return {"prompts", "sft", "pairs"};
  return {"prompts", "sft", "pairs", "reward_model"};
}

std::string OwnStage(const std::string& method) {
  return method == "best_of_n" ? "eval_best_of_n" : method;
}

absl::StatusOr<std::vector<CompareStage>> PlanCompare(
    const pb::CompareConfig& config) {
  ALIGN_RETURN_IF_ERROR(CheckCompare(config));
  ALIGN_ASSIGN_OR_RETURN(const std::string inputs, InputsKey(config));
  std::vector<CompareStage> stages;
  const auto add = [&](const std::string& name,
                       std::vector<std::string> needs) {
    std::string text = std::string(kVersion) + "\n" + name + "\n" + inputs +
                       StageConfig(config, name);
    for (const std::string& need : needs) {
      const auto found = std::ranges::find(stages, need, &CompareStage::name);
      if (found != stages.end()) text += found->key;
    }
    stages.push_back(
        {.name = name, .needs = std::move(needs), .key = ContentHash(text)});
  };
  const std::vector<std::string> methods = Methods(config);
  add("prompts", {});
  add("sft", {"prompts"});
  const bool pairs = methods.size() > 1;
  const bool reward = std::ranges::any_of(methods, [](const auto& m) {
    return m == "best_of_n" || m == "rso" || m == "ppo";
  });
  if (pairs) add("pairs", {"prompts", "sft"});
  if (reward) add("reward_model", {"pairs"});
  for (const std::string& method : methods) {
    if (method != "sft" && method != "best_of_n") {
      add(method, EarlierStages(method));
    }
  }
  for (const std::string& method : methods) {
    std::vector<std::string> needs = EarlierStages(method);
    if (method != "best_of_n") needs.push_back(method);
    add("eval_" + method, std::move(needs));
  }
  ALIGN_RETURN_IF_ERROR(CheckTraining(config, stages));
  return stages;
}

absl::StatusOr<Precision> ComparePrecision(const pb::CompareConfig& config) {
  return ParsePrecision(config.has_precision() ? config.precision() : "f32");
}

std::string StageDirectory(const std::string& out, const std::string& stage) {
  return out + "/stages/" + stage;
}

absl::StatusOr<pb::StageRecord> ReadStageRecord(const std::string& out,
                                                const std::string& stage) {
  const std::string path = StageDirectory(out, stage) + "/stage.textproto";
  ALIGN_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  pb::StageRecord record;
  ALIGN_RETURN_IF_ERROR(ParseConfig(text, path, record));
  return record;
}

absl::Status WriteStageRecord(const std::string& out,
                              const pb::StageRecord& record) {
  return WriteFileAtomically(
      StageDirectory(out, record.name()) + "/stage.textproto",
      ConfigText(record));
}

std::string SftModelDirectory(const pb::CompareConfig& config,
                              const std::string& out) {
  return config.sft().enabled() ? StageDirectory(out, "sft") + "/model"
                                : config.base().path();
}

std::string TokenizerDirectory(const pb::CompareConfig& config) {
  return config.base().has_tokenizer()
             ? config.base().tokenizer()
             : DirectoryOfTokenizer(config.base().path());
}

}  // namespace align
