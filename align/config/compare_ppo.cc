// The stage of `align compare` that learns from its own samples.

#include <memory>
#include <utility>

#include "align/base/log.h"
#include "align/config/compare_plan.h"
#include "align/config/compare_stages.h"
#include "align/config/ppo_setup.h"
#include "align/config/settings.h"
#include "align/train/rollout.h"

namespace align {
namespace {

PromptBatch Prompts(const pb::Samples& samples) {
  PromptBatch batch;
  for (const pb::SampledPrompt& prompt : samples.prompts()) {
    batch.prompts.push_back(Ids(prompt.prompt()));
    batch.ids.push_back("#" + std::to_string(prompt.number()));
    batch.numbers.push_back(prompt.number());
  }
  return batch;
}

}  // namespace

// Writes model/: the SFT policy trained by PPO against the reward model, with a
// critic that starts as the reward model or, shared, as a head on the policy.
absl::Status TrainPpo(CompareContext& context) {
  const pb::CompareConfig::Ppo& config = context.config().ppo();
  ALIGN_ASSIGN_OR_RETURN(const PpoSettings settings,
                         ReadPpo(config.ppo(), context.sampling().temperature));
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> policy, context.LoadSft());
  PpoModels models;
  ALIGN_ASSIGN_OR_RETURN(models.reward_model, context.LoadTrainedRewardModel());
  models.reward = train::RewardModelFunction(*models.reward_model);
  models.reference = CloneModel(*policy);
  if (settings.shared_critic) {
    models.value_head =
        std::make_unique<ValueHead>(policy->config().hidden_size);
    if (!settings.zero_value_head) models.value_head->Draw(context.rng());
  } else {
    models.critic = CloneModel(*models.reward_model);
  }
  ALIGN_ASSIGN_OR_RETURN(const pb::Samples prompts,
                         context.ReadSamples("prompts", "train.binpb"));
  samplers::SamplingOptions sampling = context.sampling();
  sampling.cache_mode = CacheMode::kExact;  // ratios need the scorer's bits
  ALIGN_ASSIGN_OR_RETURN(
      const std::unique_ptr<PpoRun> run,
      PpoRun::Create(*policy, std::move(models), settings, sampling,
                     Prompts(prompts), context.stop(), context.rng()));
  context.record().set_models_held(run->models_held());
  std::vector<ParamStore*> stores;
  for (const train::NamedStore& named : run->stores()) {
    stores.push_back(named.store);
  }
  const auto check = [&](const train::StepReport& report)
      -> absl::StatusOr<train::ObserverResult> {
    if (report.step == 1) {
      ALIGN_RETURN_IF_ERROR(train::CheckInitialRatios(report));
      LogInfo(context.stage() + ": at step 1 all ratios are 1");
    }
    return train::ObserverResult();
  };
  ALIGN_RETURN_IF_ERROR(
      context.Train(config.training(), run->micro_steps(), stores, check));
  context.record().set_tokens_sampled(run->rollouts().state().tokens_sampled);
  return SaveModel(*policy, context.directory() + "/model",
                   TokenizerDirectory(context.config()));
}

}  // namespace align
