#include "align/config/train_online.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "align/base/log.h"
#include "align/config/loss_options.h"
#include "align/config/rollout_setup.h"
#include "align/config/settings.h"
#include "align/config/train_feeds.h"
#include "align/train/duel_rollout.h"
#include "align/train/online_objective.h"
#include "losses/registry.h"
#include "proto/config.pb.h"

namespace align {
namespace {

constexpr const char* kOnlineDpo = "online_dpo";
constexpr const char* kXpo = "xpo";
constexpr const char* kNashMd = "nash_md";
constexpr const char* kFirst = "first";
constexpr const char* kSkip = "skip";
constexpr const char* kBradleyTerry = "bradley_terry";
constexpr const char* kHard = "hard";
// The reference's share in the mixture, as TRL has it.
constexpr double kMixtureCoef = 0.5;

bool IsOnline(const pb::TrainConfig& config) {
  const std::string& method = config.method();
  return method == kOnlineDpo || method == kXpo || method == kNashMd;
}

// kInvalidArgument for keys of `online` that the method does not read.
absl::Status CheckKeys(const pb::TrainConfig& config) {
  const pb::OnlineConfig& online = config.online();
  const std::string& method = config.method();
  const char* key = nullptr;
  if (online.has_group_size() && method != kOnlineDpo) key = "group_size";
  if (online.has_ties() && method == kNashMd) key = "ties";
  if (online.has_preference() && method != kNashMd) key = "preference";
  if (online.has_mixture_coef() && method != kNashMd) key = "mixture_coef";
  if (key == nullptr) return absl::OkStatus();
  return InvalidArgument("online." + std::string(key) +
                         ": not a key of method '" + method + "'");
}

// Defaults of what is unset and the method reads.
void FillDefaults(pb::TrainConfig& config) {
  const std::string& method = config.method();
  const train::DuelRolloutOptions defaults;
  pb::OnlineConfig& online = *config.mutable_online();
  if (!online.has_prompts_per_rollout()) {
    online.set_prompts_per_rollout(defaults.prompts);
  }
  if (!online.has_epochs()) online.set_epochs(defaults.epochs);
  if (!online.has_minibatches()) online.set_minibatches(defaults.minibatches);
  if (!online.has_group_size() && method == kOnlineDpo) {
    online.set_group_size(defaults.group_size);
  }
  if (!online.has_ties() && method != kNashMd) {
    online.set_ties(defaults.skip_ties ? kSkip : kFirst);
  }
  if (!online.has_preference() && method == kNashMd) {
    online.set_preference(kBradleyTerry);
  }
  if (!online.has_mixture_coef() && method == kNashMd) {
    online.set_mixture_coef(kMixtureCoef);
  }
  pb::LossConfig* loss =
      config.loss_size() > 0 ? config.mutable_loss(0) : config.add_loss();
  if (!loss->has_name()) {
    loss->set_name(method == kOnlineDpo ? "sigmoid" : method);
  }
}

// Of a config with its defaults.
absl::Status CheckRanges(const pb::OnlineConfig& online) {
  const auto bad = [](const std::string& key, const std::string& value,
                      const std::string& expected) {
    return InvalidArgument("online." + key + ": " + value + "; expected " +
                           expected);
  };
  struct Count {
    const char* key;
    int64_t value, least;
  };
  for (const Count& count :
       {Count{"prompts_per_rollout", online.prompts_per_rollout(), 1},
        Count{"epochs", online.epochs(), 1},
        Count{"minibatches", online.minibatches(), 1},
        Count{"group_size", online.has_group_size() ? online.group_size() : 2,
              2}}) {
    if (count.value >= count.least) continue;
    return bad(count.key, std::to_string(count.value),
               "at least " + std::to_string(count.least));
  }
  if (online.minibatches() > online.prompts_per_rollout()) {
    return bad("minibatches", std::to_string(online.minibatches()),
               "at most online.prompts_per_rollout, the prompts that are cut "
               "up");
  }
  if (!(online.missing_eos_penalty() >= 0 &&
        std::isfinite(online.missing_eos_penalty()))) {
    return bad("missing_eos_penalty",
               std::to_string(online.missing_eos_penalty()), "0 or more");
  }
  if (!(online.mixture_coef() >= 0 && online.mixture_coef() <= 1)) {
    return bad("mixture_coef", std::to_string(online.mixture_coef()),
               "a number in [0, 1]");
  }
  struct Choice {
    const char* key;
    bool set;
    const std::string& value;
    std::vector<std::string> names;
  };
  for (const Choice& choice :
       {Choice{"ties", online.has_ties(), online.ties(), {kFirst, kSkip}},
        Choice{"preference",
               online.has_preference(),
               online.preference(),
               {kBradleyTerry, kHard}}}) {
    if (!choice.set || std::ranges::count(choice.names, choice.value) > 0) {
      continue;
    }
    return InvalidArgument(losses::UnknownName(
        "online." + std::string(choice.key) + ":", choice.value, choice.names));
  }
  return absl::OkStatus();
}

train::DuelRolloutOptions RolloutOptions(const pb::OnlineConfig& online) {
  train::DuelRolloutOptions options = {
      .prompts = online.prompts_per_rollout(),
      .epochs = online.epochs(),
      .minibatches = online.minibatches(),
      .skip_ties = online.ties() == kSkip,
      .preference = online.preference() == kHard
                        ? train::PreferenceRule::kHard
                        : train::PreferenceRule::kBradleyTerry};
  if (online.has_group_size()) options.group_size = online.group_size();
  if (online.has_missing_eos_penalty()) {
    options.missing_eos_penalty = online.missing_eos_penalty();
  }
  return options;
}

absl::StatusOr<train::NamedPolicyLoss> PolicyLossOf(
    const pb::TrainConfig& config) {
  absl::StatusOr<train::NamedPolicyLoss> made = train::MakePolicyLoss(
      config.loss(0).name(), ValuesOf(config.loss(0).options()));
  if (!made.ok()) return Annotate(made.status(), "loss");
  return made;
}

// The weight of XPO's bonus, in the first loss that has one.
double AlphaOf(const pb::TrainConfig& config) {
  losses::XpoOptions options;
  for (const pb::LossConfig& loss : config.loss()) {
    if (loss.name() != kXpo) continue;
    losses::OptionList list;
    options.Describe(list);
    for (const auto& value : ValuesOf(loss.options())) {
      // Those of every loss on pairs are not in the list, and were checked.
      losses::SetOptions(kXpo, list, {value});
    }
    return options.alpha * (loss.has_weight() ? loss.weight() : 1);
  }
  return 0;
}

absl::Status CheckLoss(const pb::TrainConfig& config) {
  if (config.method() == kNashMd) return PolicyLossOf(config).status();
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss, PairLossOf(config));
  if (loss.needs.policy_won == (config.method() == kXpo)) {
    return absl::OkStatus();
  }
  return InvalidArgument(
      config.method() == kXpo
          ? "loss: expected 'xpo', alone or among others, of method 'xpo'"
          : "loss xpo: learns from samples of policy and reference; expected "
            "method 'xpo'");
}

absl::StatusOr<bool> NeedsReference(const pb::TrainConfig& config) {
  if (config.method() != kOnlineDpo || config.has_reference()) return true;
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss, PairLossOf(config));
  return loss.needs.reference;
}

// What a run holds besides the policy.
struct OnlineRun {
  std::unique_ptr<Model> reference;  // null where nothing needs it
  LoadedRewards rewards;
  std::unique_ptr<train::DuelRollouts> rollouts;
  losses::RunningMoments moments;
};

// Who answers: the policy alone, or the policy and its opponent.
train::ReplyGenerator GeneratorOf(const pb::TrainConfig& config,
                                  const samplers::SamplingOptions& sampling,
                                  const std::function<bool()>& stop,
                                  const Model& policy, const Model* reference) {
  if (config.method() == kOnlineDpo) {
    return train::SampleReplies(policy, sampling, stop,
                                config.online().group_size());
  }
  train::ReplyGenerator opponent;
  if (config.method() == kXpo) {
    opponent = train::SampleReplies(*reference, sampling, stop);
  } else {
    const double share = config.online().mixture_coef();
    opponent = train::SampleMixture({&policy, reference}, {1 - share, share},
                                    sampling, stop);
  }
  return train::OneOfEach(train::SampleReplies(policy, sampling, stop),
                          std::move(opponent));
}

// Loads the models and sets `held`.
absl::Status Load(const pb::TrainConfig& config,
                  const std::function<bool()>& stop, const TrainRun& run,
                  OnlineRun& held) {
  ALIGN_ASSIGN_OR_RETURN(PromptBatch prompts, ReadPrompts(config, run));
  ALIGN_ASSIGN_OR_RETURN(held.rewards, LoadRewards(config, run, prompts));
  ALIGN_ASSIGN_OR_RETURN(const bool reference, NeedsReference(config));
  if (reference) {
    ALIGN_ASSIGN_OR_RETURN(held.reference, LoadReference(config, *run.model));
  }
  ALIGN_ASSIGN_OR_RETURN(samplers::SamplingOptions sampling,
                         ReadSampling(config.sampling()));
  sampling.stop_ids = StopIds(*run.tokenizer);
  train::DuelRolloutParts parts = {
      .generate =
          GeneratorOf(config, sampling, stop, *run.model, held.reference.get()),
      .rewards = held.rewards.rewards,
      .reference = nullptr};
  if (config.method() == kNashMd) {
    parts.reference =
        train::FrozenReference(*held.reference, sampling.temperature);
  }
  ALIGN_ASSIGN_OR_RETURN(
      held.rollouts,
      train::DuelRollouts::Create(std::move(prompts), std::move(parts),
                                  RolloutOptions(config.online()),
                                  Rng(config.loop().seed()).Fork("online")));
  return absl::OkStatus();
}

absl::Status BindNash(const pb::TrainConfig& config,
                      const std::shared_ptr<OnlineRun>& held, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPolicyLoss loss,
                         PolicyLossOf(config));
  run.micro_steps = train::BindCoupled<train::PolicyBatch>(
      [held] { return held->rollouts->NextFirsts(); },
      train::NashObjective(
          *run.model, loss,
          {.temperature = config.sampling().temperature(),
           .max_completion_length = config.sampling().max_new_tokens()},
          config.online().mixture_coef()),
      config.loop().accumulation());
  run.check_first_step = [](const train::StepReport& report) {
    return report.metrics.contains("val/ratio")
               ? CheckAndLogInitialRatios(kNashMd, report)
               : absl::OkStatus();  // no prompt had two scored replies
  };
  return absl::OkStatus();
}

absl::Status BindPairs(const pb::TrainConfig& config,
                       const std::shared_ptr<OnlineRun>& held, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss, PairLossOf(config));
  train::ReferenceLogProbs reference;
  if (held->reference) reference = train::FrozenReference(*held->reference);
  run.micro_steps = train::BindCoupled<train::SampledPairs>(
      [held] { return held->rollouts->NextPairs(); },
      train::OnlinePairObjective(*run.model, std::move(reference), loss,
                                 {.preference = {.moments = &held->moments},
                                  .alpha = AlphaOf(config)}),
      config.loop().accumulation());
  if (loss.needs.running_mean) {
    run.save = [save = std::move(run.save),
                held](train::CheckpointState& state) {
      save(state);
      train::SaveMoments(held->moments, state);
    };
    run.restore = [restore = std::move(run.restore),
                   held](const train::CheckpointState& state) -> absl::Status {
      ALIGN_RETURN_IF_ERROR(restore(state));
      return train::RestoreMoments(state, held->moments);
    };
  }
  if (!loss.needs.reference || config.has_reference()) return absl::OkStatus();
  run.check_first_step = [](const train::StepReport& report) {
    return report.step == 1 && report.metrics.contains("rewards/margins")
               ? train::CheckInitialPreferenceStep(report, std::nullopt)
               : absl::OkStatus();
  };
  return absl::OkStatus();
}

}  // namespace

absl::Status ResolveOnlineConfig(pb::TrainConfig& config) {
  if (!IsOnline(config)) {
    if (!config.has_online()) return absl::OkStatus();
    return InvalidArgument("online: not a key of method '" + config.method() +
                           "', only of 'online_dpo', 'xpo' and 'nash_md'");
  }
  ALIGN_RETURN_IF_ERROR(RefuseBatchKeys(config));
  ALIGN_RETURN_IF_ERROR(CheckRewards(config));
  ALIGN_RETURN_IF_ERROR(CheckKeys(config));
  FillDefaults(config);
  ALIGN_RETURN_IF_ERROR(CheckRanges(config.online()));
  ALIGN_RETURN_IF_ERROR(CheckLoss(config));
  ALIGN_ASSIGN_OR_RETURN(const samplers::SamplingOptions sampling,
                         ReadSampling(config.sampling()));
  if (sampling.temperature == 0) {
    return InvalidArgument(
        "sampling.temperature: 0; expected more than 0, because replies to a "
        "prompt are compared");
  }
  FillDefaults(*config.mutable_sampling());
  return CheckRolloutSteps(
      config, "online",
      config.online().epochs() * config.online().minibatches());
}

absl::Status PrepareOnline(const pb::TrainConfig& config,
                           std::function<bool()> stop, TrainRun& run) {
  const auto held = std::make_shared<OnlineRun>();
  ALIGN_RETURN_IF_ERROR(Load(config, stop, run, *held));
  run.model->trained().EnableGradients();
  run.stores = {{.name = "policy", .store = &run.model->trained()}};
  FollowRollouts(
      std::shared_ptr<train::DuelRollouts>(held, held->rollouts.get()), run);
  return config.method() == kNashMd ? BindNash(config, held, run)
                                    : BindPairs(config, held, run);
}

absl::StatusOr<std::vector<HeldModel>> OnlineModelsBeside(
    const pb::TrainConfig& config, const Model& policy) {
  ALIGN_ASSIGN_OR_RETURN(std::vector<HeldModel> held, HeldRewards(config));
  ALIGN_ASSIGN_OR_RETURN(const bool reference, NeedsReference(config));
  if (reference) {
    ALIGN_ASSIGN_OR_RETURN(held.emplace_back(), HeldReference(config, policy));
  }
  return held;
}

}  // namespace align
