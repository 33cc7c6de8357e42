#include "align/config/train_grpo.h"

#include <memory>
#include <string>
#include <utility>

#include "align/base/log.h"
#include "align/config/rollout_setup.h"
#include "align/config/settings.h"
#include "align/models/model_cache.h"
#include "align/train/group_rollout.h"
#include "align/train/policy_objective.h"
#include "align/train/reference.h"
#include "proto/config.pb.h"

namespace align {
namespace {

absl::StatusOr<GrpoSettings> Settings(const pb::TrainConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(const samplers::SamplingOptions sampling,
                         ReadRolloutSampling(config.sampling()));
  return ReadGrpo(config.grpo(), config.loss(0), sampling);
}

// What a run holds besides the policy.
struct GrpoRun {
  std::unique_ptr<Model> reference;  // null where nothing needs it
  LoadedRewards rewards;
  std::unique_ptr<train::GroupRollouts> rollouts;
};

absl::StatusOr<train::GroupRolloutParts> LoadParts(
    const pb::TrainConfig& config, const GrpoSettings& settings,
    std::function<bool()> stop, const TrainRun& run, const PromptBatch& prompts,
    GrpoRun& held) {
  ALIGN_ASSIGN_OR_RETURN(samplers::SamplingOptions sampling,
                         ReadRolloutSampling(config.sampling()));
  sampling.stop_ids = StopIds(*run.tokenizer);
  LogInfo(DescribeCache(run.model->config(), CacheMode::kExact,
                        run.model->params().precision()));
  train::GroupRolloutParts parts = {
      .generate = train::SampleReplies(*run.model, sampling, stop,
                                       settings.rollout.group_size),
      .greedy = train::GreedyReplies(*run.model, sampling, stop),
      .advantage = settings.advantage};
  ALIGN_ASSIGN_OR_RETURN(held.rewards, LoadRewards(config, run, prompts));
  parts.rewards = held.rewards.rewards;
  if (settings.needs_reference()) {
    ALIGN_ASSIGN_OR_RETURN(held.reference, LoadReference(config, *run.model));
    parts.reference =
        train::FrozenReference(*held.reference, sampling.temperature);
  }
  return parts;
}

}  // namespace

absl::Status ResolveGrpoConfig(pb::TrainConfig& config) {
  if (config.method() != "grpo") {
    if (config.has_grpo()) {
      return InvalidArgument("grpo: not a key of method '" + config.method() +
                             "', only of 'grpo'");
    }
    if (config.rewards_size() > 0 &&
        (config.method() == "ppo" || !SamplesReplies(config))) {
      return InvalidArgument(
          "rewards: not a key of method '" + config.method() +
          "', only of 'grpo', 'online_dpo', 'xpo' and 'nash_md'");
    }
    return absl::OkStatus();
  }
  ALIGN_RETURN_IF_ERROR(RefuseBatchKeys(config));
  ALIGN_RETURN_IF_ERROR(CheckRewards(config));
  pb::LossConfig* loss =
      config.loss_size() > 0 ? config.mutable_loss(0) : config.add_loss();
  if (!loss->has_name()) loss->set_name("grpo");
  pb::AdvantageConfig* advantage = config.mutable_grpo()->mutable_advantage();
  if (!advantage->has_name()) {
    advantage->set_name(loss->name() == "rloo" ? "rloo" : "group");
  }
  ALIGN_ASSIGN_OR_RETURN(const GrpoSettings settings, Settings(config));
  if (settings.advantage.needs.values) {
    return InvalidArgument("grpo.advantage: '" + advantage->name() +
                           "' needs a critic; expected another, or method "
                           "'ppo'");
  }
  if (config.has_reference() && !settings.needs_reference()) {
    return InvalidArgument(
        "reference: nothing compares with it; expected grpo.kl_coef or the "
        "loss's option beta above 0");
  }
  FillDefaults(*config.mutable_sampling());
  FillDefaults(*config.mutable_grpo());
  return CheckRolloutSteps(
      config, "grpo", config.grpo().epochs() * config.grpo().minibatches());
}

absl::Status PrepareGrpo(const pb::TrainConfig& config,
                         std::function<bool()> stop, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(const GrpoSettings settings, Settings(config));
  ALIGN_ASSIGN_OR_RETURN(PromptBatch prompts, ReadPrompts(config, run));
  const auto held = std::make_shared<GrpoRun>();
  ALIGN_ASSIGN_OR_RETURN(
      train::GroupRolloutParts parts,
      LoadParts(config, settings, std::move(stop), run, prompts, *held));
  ALIGN_ASSIGN_OR_RETURN(
      held->rollouts,
      train::GroupRollouts::Create(std::move(prompts), std::move(parts),
                                   settings.rollout,
                                   Rng(config.loop().seed()).Fork("grpo")));
  run.model->trained().EnableGradients();
  run.stores = {{.name = "policy", .store = &run.model->trained()}};
  run.micro_steps = train::BindPolicy(
      [held] { return held->rollouts->Next(); }, *run.model, settings.loss,
      settings.objective, config.loop().accumulation(), settings.coupling);
  FollowRollouts(
      std::shared_ptr<train::GroupRollouts>(held, held->rollouts.get()), run);
  run.check_first_step = [masks = settings.rollout.mask_truncated_completions](
                             const train::StepReport& report) {
    if (masks && !report.metrics.contains("val/ratio")) {
      LogWarning("grpo: at step " + std::to_string(report.step) +
                 " every completion ran into its limit and was masked: "
                 "no ratio to check");
      return absl::OkStatus();
    }
    return CheckAndLogInitialRatios("grpo", report);
  };
  return absl::OkStatus();
}

absl::StatusOr<std::vector<HeldModel>> GrpoModelsBeside(
    const pb::TrainConfig& config, const Model& policy) {
  ALIGN_ASSIGN_OR_RETURN(std::vector<HeldModel> held, HeldRewards(config));
  ALIGN_ASSIGN_OR_RETURN(const GrpoSettings settings, Settings(config));
  if (settings.needs_reference()) {
    ALIGN_ASSIGN_OR_RETURN(held.emplace_back(), HeldReference(config, policy));
  }
  return held;
}

}  // namespace align
