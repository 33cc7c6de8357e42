// The stage of `align compare` that learns from its own samples.

#include <memory>
#include <optional>
#include <utility>

#include "align/config/compare_plan.h"
#include "align/config/compare_stages.h"
#include "align/train/ppo_rollout.h"

namespace align {
namespace {

// Overwrites `field` when the message has the value.
#define ALIGN_READ(message, name, field) \
  if ((message).has_##name()) (field) = (message).name()

train::PpoRolloutOptions RolloutOptions(const pb::PpoConfig& config) {
  train::PpoRolloutOptions options;
  ALIGN_READ(config, prompts_per_rollout, options.prompts);
  ALIGN_READ(config, epochs, options.epochs);
  ALIGN_READ(config, minibatches, options.minibatches);
  ALIGN_READ(config, kl_coef, options.kl_coef);
  ALIGN_READ(config, target_kl, options.kl_target);
  ALIGN_READ(config, kl_horizon, options.kl_horizon);
  ALIGN_READ(config, gamma, options.targets.gae.gamma);
  ALIGN_READ(config, lambda, options.targets.gae.lambda);
  ALIGN_READ(config, whiten_rewards, options.targets.whiten_rewards);
  ALIGN_READ(config, missing_eos_penalty, options.missing_eos_penalty);
  return options;
}

train::PpoObjectiveOptions ObjectiveOptions(const pb::PpoConfig& config,
                                            double temperature) {
  train::PpoObjectiveOptions options{.temperature = temperature};
  ALIGN_READ(config, value_weight, options.value_weight);
  ALIGN_READ(config, value_clip, options.value.clip);
  if (config.has_clip()) {
    options.policy.clip_low = config.clip();
    options.policy.clip_high = config.clip();
  }
  return options;
}

#undef ALIGN_READ

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
// critic that starts as the reward model.
absl::Status TrainPpo(CompareContext& context) {
  const pb::CompareConfig::Ppo& config = context.config().ppo();
  ALIGN_ASSIGN_OR_RETURN(
      std::unique_ptr<Model> policy,
      LoadModel(SftModelDirectory(context.config(), context.out())));
  ALIGN_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> reward_model,
      LoadModel(StageDirectory(context.out(), "reward_model") + "/model"));
  const std::unique_ptr<Model> reference = CloneModel(*policy);
  const std::unique_ptr<Model> critic = CloneModel(*reward_model);
  policy->params().EnableGradients();
  critic->params().EnableGradients();
  context.record().set_models_held(4);  // policy, critic, reward, reference
  const double temperature = context.sampling().temperature;
  const auto generate = [&](std::span<const std::vector<int32_t>> prompts,
                            const Rng& rng) {
    return samplers::Generate(*policy, prompts, 1, context.sampling(), rng, {},
                              context.stop());
  };
  ALIGN_ASSIGN_OR_RETURN(const pb::Samples prompts,
                         context.ReadSamples("prompts", "train.binpb"));
  ALIGN_ASSIGN_OR_RETURN(
      const std::unique_ptr<train::PpoRollouts> rollouts,
      train::PpoRollouts::Create(
          Prompts(prompts),
          {.generate = generate,
           .reward = train::RewardModelFunction(*reward_model),
           .reference = train::FrozenReference(*reference, temperature),
           .critic = critic.get()},
          RolloutOptions(config.ppo()), context.rng()));
  ALIGN_RETURN_IF_ERROR(context.Train(
      config.training(),
      train::Bind<train::PpoBatch>(
          [&] { return rollouts->Next(); },
          train::PpoObjective(*policy, *critic,
                              ObjectiveOptions(config.ppo(), temperature))),
      {&policy->params(), &critic->params()}));
  context.record().set_tokens_sampled(rollouts->state().tokens_sampled);
  context.record().set_tokens_trained(rollouts->state().tokens_trained);
  return SaveModel(*policy, context.directory() + "/model",
                   TokenizerDirectory(context.config()));
}

}  // namespace align
