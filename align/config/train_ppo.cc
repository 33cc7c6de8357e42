#include "align/config/train_ppo.h"

#include <memory>
#include <string>
#include <utility>

#include "align/base/log.h"
#include "align/config/ppo_setup.h"
#include "align/config/rollout_setup.h"
#include "align/config/settings.h"
#include "align/models/model_cache.h"
#include "align/models/recompute.h"
#include "proto/config.pb.h"

namespace align {
namespace {

constexpr char kValueHeadFile[] = "value_head.safetensors";

bool SharedCritic(const pb::TrainConfig& config) {
  return config.ppo().critic() == "shared";
}

// Where a separate critic starts.
std::string CriticDirectory(const pb::TrainConfig& config) {
  return config.has_value_model() ? config.value_model()
                                  : config.reward().model();
}

absl::Status LoadCritic(const pb::TrainConfig& config,
                        const PpoSettings& settings, const Model& policy,
                        PpoModels& models) {
  const Rng rng = Rng(config.loop().seed()).Fork("value_head");
  if (!settings.shared_critic) {
    ALIGN_ASSIGN_OR_RETURN(
        models.critic,
        LoadScorer(config.has_value_model() ? "value_model" : "reward.model",
                   CriticDirectory(config), policy, &rng));
    SetRecomputeActivations(*models.critic, config.recompute_activations());
    return absl::OkStatus();
  }
  models.value_head = std::make_unique<ValueHead>(policy.config().hidden_size);
  if (config.has_value_model()) {
    return Annotate(LoadValueHead(config.value_model() + "/" + kValueHeadFile,
                                  *models.value_head),
                    "value_model");
  }
  if (!settings.zero_value_head) models.value_head->Draw(rng);
  return absl::OkStatus();
}

absl::StatusOr<PpoModels> LoadModels(const pb::TrainConfig& config,
                                     const PpoSettings& settings,
                                     const TrainRun& run,
                                     const PromptBatch& prompts) {
  const Model& policy = *run.model;
  PpoModels models;
  ALIGN_ASSIGN_OR_RETURN(models.reference, LoadReference(config, policy));
  ALIGN_ASSIGN_OR_RETURN(
      LoadedReward reward,
      LoadReward("reward", config.reward(), policy, *run.tokenizer, prompts));
  models.reward_model = std::move(reward.model);
  models.reward = std::move(reward.score);
  ALIGN_RETURN_IF_ERROR(LoadCritic(config, settings, policy, models));
  return models;
}

}  // namespace

absl::Status ResolvePpoConfig(pb::TrainConfig& config) {
  if (config.method() != "ppo") {
    const bool samples = SamplesReplies(config);
    const char* key = nullptr;
    if (config.has_reward() && !samples) key = "reward";
    if (config.has_sampling() && !samples && config.method() != "gkd") {
      key = "sampling";
    }
    if (config.has_ppo()) key = "ppo";
    if (config.has_value_model()) key = "value_model";
    if (key == nullptr) return absl::OkStatus();
    return InvalidArgument(std::string(key) + ": not a key of method '" +
                           config.method() + "', only of 'ppo'");
  }
  if (config.reward().has_weight()) {
    return InvalidArgument("reward.weight: method 'ppo' has one reward");
  }
  ALIGN_RETURN_IF_ERROR(RefuseBatchKeys(config));
  ALIGN_RETURN_IF_ERROR(CheckReward("reward", config.reward()));
  ALIGN_ASSIGN_OR_RETURN(const samplers::SamplingOptions sampling,
                         ReadRolloutSampling(config.sampling()));
  ALIGN_RETURN_IF_ERROR(ReadPpo(config.ppo(), sampling.temperature).status());
  FillDefaults(*config.mutable_sampling());
  FillDefaults(*config.mutable_ppo());
  if (!SharedCritic(config) && CriticDirectory(config).empty()) {
    return InvalidArgument(
        "value_model: a separate critic needs a model to start from where the "
        "reward is a lexicon or a rule (or set ppo.critic to 'shared')");
  }
  return CheckRolloutSteps(config, "ppo",
                           config.ppo().epochs() * config.ppo().minibatches());
}

absl::Status PreparePpo(const pb::TrainConfig& config,
                        std::function<bool()> stop, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(samplers::SamplingOptions sampling,
                         ReadRolloutSampling(config.sampling()));
  sampling.stop_ids = StopIds(*run.tokenizer);
  LogInfo(DescribeCache(run.model->config(), CacheMode::kExact,
                        run.model->params().precision()));
  ALIGN_ASSIGN_OR_RETURN(const PpoSettings settings,
                         ReadPpo(config.ppo(), sampling.temperature));
  ALIGN_ASSIGN_OR_RETURN(PromptBatch prompts, ReadPrompts(config, run));
  ALIGN_ASSIGN_OR_RETURN(PpoModels models,
                         LoadModels(config, settings, run, prompts));
  ALIGN_ASSIGN_OR_RETURN(
      std::unique_ptr<PpoRun> made,
      PpoRun::Create(*run.model, std::move(models), settings, sampling,
                     std::move(prompts), std::move(stop),
                     Rng(config.loop().seed()).Fork("ppo")));
  const std::shared_ptr<PpoRun> ppo = std::move(made);
  run.stores = ppo->stores();
  run.micro_steps = [ppo, steps = ppo->micro_steps()] { return steps(); };
  FollowRollouts(std::shared_ptr<train::PpoRollouts>(ppo, &ppo->rollouts()),
                 run);
  run.check_first_step = [](const train::StepReport& report) {
    return CheckAndLogInitialRatios("ppo", report);
  };
  run.save_beside = [ppo, tokenizer = TokenizerOf(config),
                     format = WeightFormatOf(config)](const std::string& out) {
    const PpoModels& models = ppo->models();
    return models.value_head
               ? SaveValueHead(*models.value_head,
                               out + "/model/" + kValueHeadFile)
               : SaveModel(*models.critic, out + "/critic", tokenizer, format);
  };
  return absl::OkStatus();
}

absl::StatusOr<std::vector<HeldModel>> PpoModelsBeside(
    const pb::TrainConfig& config, const Model& policy) {
  std::vector<HeldModel> held;
  ALIGN_ASSIGN_OR_RETURN(const int64_t trained,
                         TrainedCopies(config.optimizer()));
  if (SharedCritic(config)) {
    held.push_back({.role = "value head",
                    .parameters = policy.config().hidden_size + 1,
                    .copies = trained});
  } else {
    ALIGN_ASSIGN_OR_RETURN(
        held.emplace_back(),
        HeldFromDirectory("critic", CriticDirectory(config), trained));
  }
  if (config.reward().has_model()) {
    ALIGN_ASSIGN_OR_RETURN(
        held.emplace_back(),
        HeldFromDirectory("reward model", config.reward().model(), 1));
  }
  ALIGN_ASSIGN_OR_RETURN(held.emplace_back(), HeldReference(config, policy));
  return held;
}

}  // namespace align
