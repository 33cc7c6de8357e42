#include "align/config/lora.h"

#include <utility>
#include <vector>

#include "align/config/rollout_setup.h"
#include "align/models/peft.h"
#include "align/text/regex.h"
#include "proto/config.pb.h"

namespace align {
namespace {

LoraOptions OptionsOf(const pb::LoraConfig& config) {
  LoraOptions options;
  if (config.has_rank()) options.rank = config.rank();
  if (config.has_alpha()) options.alpha = config.alpha();
  if (config.has_dropout()) options.dropout = config.dropout();
  options.use_rslora = config.use_rslora();
  options.use_dora = config.use_dora();
  if (config.target_size() > 0) {
    options.targets = {config.target().begin(), config.target().end()};
  }
  options.target_regex = config.target_regex();
  return options;
}

bool ContinuesAdapters(const pb::TrainConfig& config) {
  return config.model().has_lora() && IsAdapterDirectory(config.model().path());
}

void FillLora(pb::LoraConfig& lora) {
  const LoraOptions defaults = OptionsOf(lora);
  lora.set_rank(defaults.rank);
  lora.set_alpha(defaults.alpha);
  lora.set_dropout(defaults.dropout);
  lora.set_use_rslora(defaults.use_rslora);
  lora.set_use_dora(defaults.use_dora);
  if (lora.has_target_regex() || lora.target_size() > 0) return;
  for (const std::string& target : defaults.targets) lora.add_target(target);
}

absl::Status Disagrees(const std::string& key, double wanted, double there,
                       const std::string& path) {
  return InvalidArgument("model.lora." + key + ": " + std::to_string(wanted) +
                         "; the adapters of " + path + " have " +
                         std::to_string(there));
}

// Adapters that go on learning are as they were made.
absl::Status CheckContinued(const pb::ModelSource& source,
                            const LoraOptions& there) {
  const pb::LoraConfig& lora = source.lora();
  const std::string& path = source.path();
  const LoraOptions wanted = OptionsOf(lora);
  if (lora.has_rank() && wanted.rank != there.rank) {
    return Disagrees("rank", static_cast<double>(wanted.rank),
                     static_cast<double>(there.rank), path);
  }
  if (lora.has_alpha() && wanted.alpha != there.alpha) {
    return Disagrees("alpha", wanted.alpha, there.alpha, path);
  }
  if (lora.has_dropout() && wanted.dropout != there.dropout) {
    return Disagrees("dropout", wanted.dropout, there.dropout, path);
  }
  if (lora.has_use_rslora() && wanted.use_rslora != there.use_rslora) {
    return Disagrees("use_rslora", wanted.use_rslora, there.use_rslora, path);
  }
  if (lora.has_use_dora() && wanted.use_dora != there.use_dora) {
    return Disagrees("use_dora", wanted.use_dora, there.use_dora, path);
  }
  const bool other_targets =
      (lora.target_size() > 0 && wanted.targets != there.targets) ||
      (lora.has_target_regex() && wanted.target_regex != there.target_regex);
  if (!other_targets) return absl::OkStatus();
  return InvalidArgument("model.lora.target: the adapters of " + path +
                         " have other targets; expected none here");
}

// Whole names by a regular expression, as Python's re.fullmatch.
absl::StatusOr<LayerMatch> MatchOf(const std::string& regex) {
  // By itself first: a parenthesis too many must not close ours.
  absl::StatusOr<Regex> compiled = Regex::Compile(regex);
  if (compiled.ok()) compiled = Regex::Compile("^(?:" + regex + ")$");
  if (!compiled.ok()) {
    return Annotate(compiled.status(), "model.lora.target_regex");
  }
  const auto shared = std::make_shared<Regex>(*std::move(compiled));
  return LayerMatch([shared](std::string_view layer) {
    size_t begin = 0, end = 0;
    return RegexMatcher(*shared).Find(layer, 0, &begin, &end);
  });
}

}  // namespace

absl::Status ResolveLora(pb::TrainConfig& config) {
  if (config.reference().has_lora()) {
    return InvalidArgument("reference.lora: a reference learns nothing");
  }
  if (!config.model().has_lora()) return absl::OkStatus();
  if (config.model().has_create()) {
    return InvalidArgument(
        "model.lora: adapters go with a model that is there; expected "
        "model.path instead of model.create");
  }
  pb::LoraConfig& lora = *config.mutable_model()->mutable_lora();
  if (lora.has_target_regex() && lora.target_size() > 0) {
    return InvalidArgument(
        "model.lora: expected only one of target and target_regex");
  }
  if (lora.has_target_regex()) {
    ALIGN_RETURN_IF_ERROR(MatchOf(lora.target_regex()).status());
  }
  if (SamplesReplies(config) && lora.dropout() > 0) {
    return InvalidArgument(
        "model.lora.dropout: " + std::to_string(lora.dropout()) +
        "; expected 0 for method '" + config.method() +
        "', whose ratios compare the model with itself");
  }
  if (!ContinuesAdapters(config)) FillLora(lora);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> LoadTrained(
    const pb::TrainConfig& config, const Rng& rng) {
  const pb::ModelSource& source = config.model();
  const bool reward = config.method() == "reward";
  if (!ContinuesAdapters(config)) {
    ALIGN_ASSIGN_OR_RETURN(
        std::unique_ptr<Model> model,
        reward ? LoadRewardModel(source.path(), rng, source.base())
               : LoadModel(source.path(), source.base()));
    if (!source.has_lora()) return model;
    LayerMatch match;
    if (source.lora().has_target_regex()) {
      ALIGN_ASSIGN_OR_RETURN(match, MatchOf(source.lora().target_regex()));
    }
    ALIGN_RETURN_IF_ERROR(Annotate(
        AddAdapters(OptionsOf(source.lora()), rng.Fork("lora"), *model, match),
        "model"));
    return model;
  }
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                         LoadAdaptedModel(source.path(), source.base()));
  const LoraOptions& there = model->adapters()->options();
  ALIGN_RETURN_IF_ERROR(CheckContinued(source, there));
  if (there.dropout > 0 && SamplesReplies(config)) {
    return InvalidArgument(
        "model.path: the adapters of " + source.path() + " have a dropout of " +
        std::to_string(there.dropout) + "; expected 0 for method '" +
        config.method() + "', whose ratios compare the model with itself");
  }
  if (reward && !model->config().classifier()) {
    return InvalidArgument(
        "model.path: " + source.path() +
        " has adapters of a language model; expected a reward model's, or the "
        "directory that align merge makes of it");
  }
  return model;
}

std::unique_ptr<Model> FrozenStart(const pb::TrainConfig& config,
                                   const Model& policy) {
  if (policy.adapters() == nullptr) return CloneModel(policy);
  std::unique_ptr<Model> start = policy.WithoutAdapters();
  if (ContinuesAdapters(config)) {
    start->SetAdapters(policy.adapters()->Copy());
  }
  return start;
}

std::vector<HeldModel> HeldTrained(const std::string& role, const Model& model,
                                   int64_t trained_copies) {
  const int64_t base = model.params().parameter_count();
  if (model.adapters() == nullptr) {
    return {{.role = role,
             .parameters = base,
             .copies = trained_copies,
             .config = model.config()}};
  }
  return {{.role = role, .parameters = base, .config = model.config()},
          {.role = "adapters",
           .parameters = model.adapters()->params().parameter_count(),
           .copies = trained_copies}};
}

HeldModel HeldStart(const pb::TrainConfig& config, const Model& policy) {
  HeldModel held = {.role = "reference"};
  if (policy.adapters() == nullptr) {
    held.parameters = policy.params().parameter_count();
    held.config = policy.config();
  } else if (ContinuesAdapters(config)) {
    held.parameters = policy.adapters()->params().parameter_count();
  } else {
    held.role = "reference (adapters off)";
  }
  return held;
}

void AddDropout(const pb::TrainConfig& config, TrainRun& run) {
  LoraAdapters* adapters = run.model->adapters();
  if (adapters == nullptr || adapters->options().dropout == 0) return;
  const auto done = std::make_shared<int64_t>(0);
  run.micro_steps = [steps = std::move(run.micro_steps), adapters, done,
                     rng = Rng(config.loop().seed()).Fork("lora_dropout")] {
    const DropoutScope scope(*adapters,
                             rng.Fork(static_cast<uint64_t>((*done)++)));
    return steps();
  };
  run.restore = [restore = std::move(run.restore), done,
                 accumulation = config.loop().accumulation()](
                    const train::CheckpointState& state) {
    *done = state.step * accumulation;
    return restore(state);
  };
}

absl::Status SaveTrained(const pb::TrainConfig& config, const Model& model,
                         const std::string& directory) {
  const std::string tokenizer = TokenizerOf(config);
  const WeightFormat format = WeightFormatOf(config);
  if (model.adapters() == nullptr) {
    return SaveModel(model, directory, tokenizer, format);
  }
  std::string base = config.model().path();
  if (ContinuesAdapters(config)) {
    ALIGN_ASSIGN_OR_RETURN(base, BaseDirectory(base, config.model().base()));
  }
  return SaveAdapters(model, directory, base, tokenizer, format);
}

}  // namespace align
