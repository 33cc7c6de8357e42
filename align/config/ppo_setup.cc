#include "align/config/ppo_setup.h"

#include <string>
#include <utility>

namespace align {

absl::StatusOr<std::unique_ptr<Model>> LoadScorer(const std::string& key,
                                                  const std::string& directory,
                                                  const Model& policy,
                                                  const Rng* head_rng) {
  absl::StatusOr<std::unique_ptr<Model>> model =
      head_rng != nullptr ? LoadRewardModel(directory, *head_rng)
                          : LoadModel(directory);
  if (!model.ok()) return Annotate(model.status(), key);
  const ModelConfig& config = (*model)->config();
  if (!config.classifier() || config.num_labels != 1) {
    return InvalidArgument(key + ": " + directory + " is a " +
                           std::string(ArchitectureName(config.architecture)) +
                           "; expected a sequence classifier with one label");
  }
  if (config.vocab_size != policy.config().vocab_size) {
    return InvalidArgument(key + ": " + directory + " has a vocabulary of " +
                           std::to_string(config.vocab_size) +
                           " ids; expected the policy's " +
                           std::to_string(policy.config().vocab_size));
  }
  (*model)->params().SetPrecision(policy.params().precision());
  return model;
}

absl::StatusOr<std::unique_ptr<PpoRun>> PpoRun::Create(
    Model& policy, PpoModels models, const PpoSettings& settings,
    const samplers::SamplingOptions& sampling, PromptBatch prompts,
    std::function<bool()> stop, const Rng& rng) {
  std::unique_ptr<PpoRun> run(new PpoRun(policy, std::move(models)));
  const PpoModels& held = run->models_;
  ALIGN_ASSIGN_OR_RETURN(
      run->rollouts_,
      train::PpoRollouts::Create(
          std::move(prompts),
          {.generate = train::SampleReplies(policy, sampling, std::move(stop)),
           .reward = held.reward,
           .reference =
               train::FrozenReference(*held.reference, sampling.temperature),
           .critic = held.value_head ? &policy : held.critic.get(),
           .value_head = held.value_head.get()},
          settings.rollout, rng));
  for (const train::NamedStore& named : run->stores()) {
    named.store->EnableGradients();
  }
  run->objective_ =
      held.value_head
          ? train::PpoObjective(policy, *held.value_head, settings.objective)
          : train::PpoObjective(policy, *held.critic, settings.objective);
  return run;
}

train::MicroSteps PpoRun::micro_steps() {
  return train::Bind<train::PpoBatch>([this] { return rollouts_->Next(); },
                                      objective_);
}

std::vector<train::NamedStore> PpoRun::stores() {
  std::vector<train::NamedStore> stores = {
      {.name = "policy", .store = &policy_.trained()}};
  if (models_.value_head) {
    stores.push_back(
        {.name = "value_head", .store = &models_.value_head->params()});
  } else {
    stores.push_back({.name = "critic", .store = &models_.critic->params()});
  }
  return stores;
}

int64_t PpoRun::models_held() const {
  return 2 + (models_.reward_model ? 1 : 0) + (models_.critic ? 1 : 0);
}

}  // namespace align
