#include "align/config/settings.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>

#include "align/config/loss_options.h"
#include "align/models/model_cache.h"
#include "losses/kl.h"
#include "losses/registry.h"
#include "proto/config.pb.h"

namespace align {
namespace {

// Overwrites `field` when the message has the value; in a template, where the
// message may be mutable, a value that it lacks becomes the field's.
#define ALIGN_READ(message, name, field) \
  if ((message).has_##name()) (field) = (message).name()
#define ALIGN_READ_OR_FILL(message, name, field)                          \
  if ((message).has_##name()) {                                           \
    (field) = (message).name();                                           \
  } else if constexpr (!std::is_const_v<                                  \
                           std::remove_reference_t<decltype(message)>>) { \
    (message).set_##name(field);                                          \
  }

absl::Status CheckRange(const char* key, double value, bool ok,
                        const char* expected) {
  if (ok) return absl::OkStatus();
  return InvalidArgument(std::string(key) + ": " + std::to_string(value) +
                         "; expected " + expected);
}

// Whether `value` is one of `names`.
absl::Status CheckName(const std::string& key, const std::string& value,
                       const std::vector<std::string>& names) {
  if (std::ranges::count(names, value) > 0) return absl::OkStatus();
  return InvalidArgument(losses::UnknownName(key + ":", value, names));
}

template <class Config>
samplers::SamplingOptions Sampling(Config& config) {
  samplers::SamplingOptions options;
  ALIGN_READ_OR_FILL(config, max_new_tokens, options.max_new_tokens);
  ALIGN_READ_OR_FILL(config, temperature, options.temperature);
  samplers::LogitsOptions& logits = options.logits;
  ALIGN_READ_OR_FILL(config, repetition_penalty, logits.repetition_penalty);
  ALIGN_READ_OR_FILL(config, no_repeat_ngram_size, logits.no_repeat_ngram_size);
  ALIGN_READ_OR_FILL(config, top_k, logits.top_k);
  ALIGN_READ_OR_FILL(config, top_p, logits.top_p);
  ALIGN_READ_OR_FILL(config, min_p, logits.min_p);
  ALIGN_READ_OR_FILL(config, typical_p, logits.typical_p);
  ALIGN_READ_OR_FILL(config, epsilon_cutoff, logits.epsilon_cutoff);
  ALIGN_READ_OR_FILL(config, max_rows, options.max_rows);
  std::string cache_mode(CacheModeName(options.cache_mode));
  ALIGN_READ_OR_FILL(config, cache_mode, cache_mode);
  if (cache_mode == CacheModeName(CacheMode::kAbsorbed)) {
    options.cache_mode = CacheMode::kAbsorbed;
  }
  return options;
}

constexpr const char* kSeparate = "separate";
constexpr const char* kShared = "shared";
constexpr const char* kZero = "zero";
constexpr const char* kNormal = "normal";

template <class Config>
PpoSettings Ppo(Config& config) {
  PpoSettings settings;
  train::PpoRolloutOptions& rollout = settings.rollout;
  ALIGN_READ_OR_FILL(config, prompts_per_rollout, rollout.prompts);
  ALIGN_READ_OR_FILL(config, epochs, rollout.epochs);
  ALIGN_READ_OR_FILL(config, minibatches, rollout.minibatches);
  ALIGN_READ_OR_FILL(config, kl_coef, rollout.kl_coef);
  ALIGN_READ_OR_FILL(config, target_kl, rollout.kl_target);
  ALIGN_READ_OR_FILL(config, kl_horizon, rollout.kl_horizon);
  ALIGN_READ_OR_FILL(config, gamma, rollout.targets.gae.gamma);
  ALIGN_READ_OR_FILL(config, lambda, rollout.targets.gae.lambda);
  ALIGN_READ_OR_FILL(config, whiten_rewards, rollout.targets.whiten_rewards);
  ALIGN_READ(config, missing_eos_penalty, rollout.missing_eos_penalty);
  train::PpoObjectiveOptions& objective = settings.objective;
  ALIGN_READ_OR_FILL(config, value_weight, objective.value_weight);
  ALIGN_READ_OR_FILL(config, ratio_threshold, objective.ratio_threshold);
  ALIGN_READ_OR_FILL(config, value_clip, objective.value.clip);
  ALIGN_READ_OR_FILL(config, clip, objective.policy.clip_low);
  objective.policy.clip_high = objective.policy.clip_low;
  std::string critic = kSeparate, value_head = kZero;
  ALIGN_READ_OR_FILL(config, critic, critic);
  settings.shared_critic = critic == kShared;
  if (settings.shared_critic) {
    ALIGN_READ_OR_FILL(config, value_head, value_head);
    settings.zero_value_head = value_head == kZero;
  }
  return settings;
}

absl::Status CheckPpo(const PpoSettings& settings) {
  const train::PpoRolloutOptions& rollout = settings.rollout;
  const train::PpoObjectiveOptions& objective = settings.objective;
  const auto at_least = [](const char* key, double value, double least,
                           const char* expected) {
    return CheckRange(key, value, value >= least, expected);
  };
  for (const auto& [key, count] :
       {std::pair("ppo.prompts_per_rollout", rollout.prompts),
        std::pair("ppo.epochs", rollout.epochs),
        std::pair("ppo.minibatches", rollout.minibatches)}) {
    ALIGN_RETURN_IF_ERROR(
        at_least(key, static_cast<double>(count), 1, "at least 1"));
  }
  ALIGN_RETURN_IF_ERROR(CheckRange(
      "ppo.minibatches", static_cast<double>(rollout.minibatches),
      rollout.minibatches <= rollout.prompts,
      "at most ppo.prompts_per_rollout, the completions that are cut up"));
  for (const auto& [key, value] :
       {std::pair("ppo.kl_coef", rollout.kl_coef),
        std::pair("ppo.target_kl", rollout.kl_target),
        std::pair("ppo.value_weight", objective.value_weight),
        std::pair("ppo.ratio_threshold", objective.ratio_threshold),
        std::pair("ppo.missing_eos_penalty",
                  rollout.missing_eos_penalty.value_or(0))}) {
    ALIGN_RETURN_IF_ERROR(at_least(key, value, 0, "0 or more"));
  }
  for (const auto& [key, value] :
       {std::pair("ppo.kl_horizon", rollout.kl_horizon),
        std::pair("ppo.clip", objective.policy.clip_low),
        std::pair("ppo.value_clip", objective.value.clip)}) {
    ALIGN_RETURN_IF_ERROR(CheckRange(key, value, value > 0, "more than 0"));
  }
  for (const auto& [key, value] :
       {std::pair("ppo.gamma", rollout.targets.gae.gamma),
        std::pair("ppo.lambda", rollout.targets.gae.lambda)}) {
    ALIGN_RETURN_IF_ERROR(
        CheckRange(key, value, value >= 0 && value <= 1, "a number in [0, 1]"));
  }
  return absl::OkStatus();
}

absl::StatusOr<train::OptimizerOptions> ReadUpdateRule(
    const pb::OptimizerConfig& config) {
  train::OptimizerOptions options;
  if (config.has_name()) {
    ALIGN_ASSIGN_OR_RETURN(options.kind,
                           train::ParseOptimizerKind(config.name()));
  }
  ALIGN_READ(config, learning_rate, options.learning_rate);
  ALIGN_READ(config, beta1, options.beta1);
  ALIGN_READ(config, beta2, options.beta2);
  ALIGN_READ(config, epsilon, options.epsilon);
  ALIGN_READ(config, weight_decay, options.weight_decay);
  ALIGN_READ(config, amsgrad, options.amsgrad);
  ALIGN_READ(config, momentum, options.momentum);
  ALIGN_READ(config, nesterov, options.nesterov);
  ALIGN_RETURN_IF_ERROR(
      CheckRange("optimizer.learning_rate", options.learning_rate,
                 options.learning_rate >= 0 && options.learning_rate < 10,
                 "a number in [0, 10)"));
  for (const auto& [key, value] :
       {std::pair("optimizer.beta1", options.beta1),
        std::pair("optimizer.beta2", options.beta2),
        std::pair("optimizer.momentum", options.momentum)}) {
    ALIGN_RETURN_IF_ERROR(
        CheckRange(key, value, value >= 0 && value < 1, "a number in [0, 1)"));
  }
  ALIGN_RETURN_IF_ERROR(CheckRange("optimizer.epsilon", options.epsilon,
                                   options.epsilon > 0, "a number above 0"));
  ALIGN_RETURN_IF_ERROR(
      CheckRange("optimizer.weight_decay", options.weight_decay,
                 options.weight_decay >= 0, "a number of at least 0"));
  const bool adam = options.kind == train::OptimizerKind::kAdamW ||
                    options.kind == train::OptimizerKind::kAdam;
  const bool sgd = options.kind == train::OptimizerKind::kSgd;
  if (options.amsgrad && !adam) {
    return InvalidArgument("optimizer.amsgrad: only adamw and adam have it");
  }
  if ((options.nesterov || options.momentum > 0) && !sgd) {
    return InvalidArgument(
        "optimizer.momentum and optimizer.nesterov: only sgd has them");
  }
  if (options.nesterov && options.momentum == 0) {
    return InvalidArgument(
        "optimizer.nesterov: expected optimizer.momentum above 0 with it");
  }
  return options;
}

// Keys that the schedule would not read, and one that it needs.
absl::Status CheckScheduleKeys(const pb::OptimizerConfig& config,
                               train::ScheduleKind kind) {
  using Kind = train::ScheduleKind;
  const bool cosine =
      kind == Kind::kCosine || kind == Kind::kCosineWithRestarts ||
      kind == Kind::kCosineWithMinimum || kind == Kind::kWarmupStableDecay;
  const bool ends_above_zero = kind == Kind::kCosineWithMinimum ||
                               kind == Kind::kWarmupStableDecay ||
                               kind == Kind::kPolynomial;
  const char* key = nullptr;
  if (config.has_cycles() && !cosine) key = "cycles";
  if (config.has_min_lr_ratio() && !ends_above_zero) key = "min_lr_ratio";
  if (config.has_power() && kind != Kind::kPolynomial) key = "power";
  if (config.has_decay_steps() && kind != Kind::kWarmupStableDecay) {
    key = "decay_steps";
  }
  const std::string name =
      config.has_schedule() ? config.schedule() : "constant";
  if (key != nullptr) {
    return InvalidArgument("optimizer." + std::string(key) +
                           ": not a key of schedule '" + name + "'");
  }
  if (kind == Kind::kWarmupStableDecay && config.decay_steps() < 1) {
    return InvalidArgument(
        "optimizer.decay_steps: " + std::to_string(config.decay_steps()) +
        "; schedule '" + name + "' expects at least 1");
  }
  return absl::OkStatus();
}

absl::StatusOr<train::ScheduleOptions> ReadSchedule(
    const pb::OptimizerConfig& config, int64_t steps) {
  train::ScheduleOptions options;
  if (config.has_schedule()) {
    ALIGN_ASSIGN_OR_RETURN(options.kind,
                           train::ParseScheduleKind(config.schedule()));
  }
  ALIGN_RETURN_IF_ERROR(CheckScheduleKeys(config, options.kind));
  if (options.kind == train::ScheduleKind::kCosineWithRestarts) {
    options.cycles = 1;  // of transformers
  }
  ALIGN_READ(config, warmup_steps, options.warmup_steps);
  ALIGN_READ(config, cycles, options.cycles);
  ALIGN_READ(config, min_lr_ratio, options.minimum);
  ALIGN_READ(config, power, options.power);
  ALIGN_READ(config, decay_steps, options.decay_steps);
  options.end = options.minimum;
  options.total_steps = steps;
  return options;
}

constexpr const char* kGlobal = "global";
constexpr const char* kMicro = "micro";

// All but names, which need the registries.
template <class Config>
GrpoSettings Grpo(Config& config) {
  GrpoSettings settings;
  train::GroupRolloutOptions& rollout = settings.rollout;
  ALIGN_READ_OR_FILL(config, prompts_per_rollout, rollout.prompts);
  ALIGN_READ_OR_FILL(config, group_size, rollout.group_size);
  ALIGN_READ_OR_FILL(config, epochs, rollout.epochs);
  ALIGN_READ_OR_FILL(config, minibatches, rollout.minibatches);
  ALIGN_READ_OR_FILL(config, kl_coef, rollout.kl_coef);
  if (rollout.kl_coef > 0) {
    ALIGN_READ_OR_FILL(config, target_kl, rollout.kl_target);
    ALIGN_READ_OR_FILL(config, kl_horizon, rollout.kl_horizon);
    std::string estimator = "k1";
    ALIGN_READ_OR_FILL(config, kl_estimator, estimator);
  }
  ALIGN_READ_OR_FILL(config, mask_truncated_completions,
                     rollout.mask_truncated_completions);
  ALIGN_READ(config, missing_eos_penalty, rollout.missing_eos_penalty);
  std::string coupling = kGlobal;
  ALIGN_READ_OR_FILL(config, coupling, coupling);
  if (coupling == kMicro) settings.coupling = train::PolicyCoupling::kMicro;
  return settings;
}

absl::Status CheckGrpo(const pb::GrpoConfig& config,
                       const train::GroupRolloutOptions& rollout) {
  for (const auto& [key, count] :
       {std::pair("grpo.prompts_per_rollout", rollout.prompts),
        std::pair("grpo.group_size", rollout.group_size),
        std::pair("grpo.epochs", rollout.epochs),
        std::pair("grpo.minibatches", rollout.minibatches)}) {
    ALIGN_RETURN_IF_ERROR(
        CheckRange(key, static_cast<double>(count), count >= 1, "at least 1"));
  }
  ALIGN_RETURN_IF_ERROR(CheckRange(
      "grpo.minibatches", static_cast<double>(rollout.minibatches),
      rollout.minibatches <= rollout.prompts,
      "at most grpo.prompts_per_rollout: the samples of a prompt stay "
      "together"));
  for (const auto& [key, value] :
       {std::pair("grpo.kl_coef", rollout.kl_coef),
        std::pair("grpo.target_kl", rollout.kl_target),
        std::pair("grpo.missing_eos_penalty",
                  rollout.missing_eos_penalty.value_or(0))}) {
    ALIGN_RETURN_IF_ERROR(CheckRange(key, value, value >= 0, "0 or more"));
  }
  ALIGN_RETURN_IF_ERROR(CheckRange("grpo.kl_horizon", rollout.kl_horizon,
                                   rollout.kl_horizon > 0, "more than 0"));
  const bool kl_keys = config.has_target_kl() || config.has_kl_horizon() ||
                       config.has_kl_estimator();
  if (rollout.kl_coef == 0 && kl_keys) {
    return InvalidArgument(
        "grpo.kl_coef: 0; expected more where target_kl, kl_horizon or "
        "kl_estimator are set, which are of the KL in the reward");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StepSettings> ReadOptimizer(const pb::OptimizerConfig& config,
                                           int64_t steps) {
  StepSettings settings;
  ALIGN_ASSIGN_OR_RETURN(settings.optimizer, ReadUpdateRule(config));
  ALIGN_READ(config, max_grad_norm, settings.max_grad_norm);
  ALIGN_RETURN_IF_ERROR(
      CheckRange("optimizer.max_grad_norm", settings.max_grad_norm,
                 settings.max_grad_norm >= 0, "0 (no clipping) or more"));
  if (config.has_norm_type()) {
    const auto norm = train::ParseNormKind(config.norm_type());
    if (!norm.ok()) return Annotate(norm.status(), "optimizer.norm_type");
    settings.norm = *norm;
  }
  ALIGN_ASSIGN_OR_RETURN(settings.schedule, ReadSchedule(config, steps));
  return settings;
}

absl::StatusOr<int64_t> TrainedCopies(const pb::OptimizerConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(const train::OptimizerOptions options,
                         ReadUpdateRule(config));
  return 2 + static_cast<int64_t>(train::StateNames(options).size());
}

absl::StatusOr<samplers::SamplingOptions> ReadSampling(
    const pb::SamplingConfig& config) {
  if (config.has_cache_mode()) {
    ALIGN_RETURN_IF_ERROR(
        CheckName("sampling.cache_mode", config.cache_mode(),
                  {std::string(CacheModeName(CacheMode::kExact)),
                   std::string(CacheModeName(CacheMode::kAbsorbed))}));
  }
  const samplers::SamplingOptions options = Sampling(config);
  ALIGN_RETURN_IF_ERROR(CheckRange("sampling.max_new_tokens",
                                   static_cast<double>(options.max_new_tokens),
                                   options.max_new_tokens >= 1, "at least 1"));
  ALIGN_RETURN_IF_ERROR(CheckRange("sampling.temperature", options.temperature,
                                   options.temperature >= 0, "0 or more"));
  ALIGN_RETURN_IF_ERROR(samplers::CheckLogitsOptions(options.logits));
  return options;
}

absl::StatusOr<samplers::SamplingOptions> ReadRolloutSampling(
    const pb::SamplingConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(const samplers::SamplingOptions options,
                         ReadSampling(config));
  if (options.cache_mode == CacheMode::kExact) return options;
  return InvalidArgument("sampling.cache_mode: '" + config.cache_mode() +
                         "'; expected exact, as ratios need the scorer's bits");
}

std::vector<int32_t> StopIds(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (const auto& id : {tokenizer.eos_id(), tokenizer.bos_id()}) {
    if (id) ids.push_back(*id);
  }
  return ids;
}

absl::StatusOr<PpoSettings> ReadPpo(const pb::PpoConfig& config,
                                    double temperature) {
  ALIGN_RETURN_IF_ERROR(CheckRange("sampling.temperature", temperature,
                                   temperature > 0,
                                   "more than 0, as PPO's ratios need it"));
  if (config.has_critic()) {
    ALIGN_RETURN_IF_ERROR(
        CheckName("ppo.critic", config.critic(), {kSeparate, kShared}));
  }
  PpoSettings settings = Ppo(config);
  if (config.has_value_head()) {
    ALIGN_RETURN_IF_ERROR(
        CheckName("ppo.value_head", config.value_head(), {kZero, kNormal}));
    if (!settings.shared_critic) {
      return InvalidArgument(
          "ppo.value_head: only a critic that is 'shared' has one; a separate "
          "critic starts from a model");
    }
  }
  ALIGN_RETURN_IF_ERROR(CheckPpo(settings));
  settings.objective.temperature = temperature;
  return settings;
}

absl::StatusOr<GrpoSettings> ReadGrpo(
    const pb::GrpoConfig& config, const pb::LossConfig& loss,
    const samplers::SamplingOptions& sampling) {
  ALIGN_RETURN_IF_ERROR(CheckRange("sampling.temperature", sampling.temperature,
                                   sampling.temperature > 0,
                                   "more than 0, as ratios need it"));
  if (config.has_coupling()) {
    ALIGN_RETURN_IF_ERROR(
        CheckName("grpo.coupling", config.coupling(), {kGlobal, kMicro}));
  }
  GrpoSettings settings = Grpo(config);
  ALIGN_RETURN_IF_ERROR(CheckGrpo(config, settings.rollout));
  if (config.has_kl_estimator()) {
    losses::KlRule rule;
    losses::OptionList list;
    rule.Describe(list);
    const std::string error = losses::SetOptions(
        "key", "grpo", list, {{"kl_estimator", config.kl_estimator()}});
    if (!error.empty()) return InvalidArgument(error);
    settings.rollout.kl_estimator = rule.estimator;
  }
  absl::StatusOr<train::NamedPolicyLoss> made =
      train::MakePolicyLoss(loss.name(), ValuesOf(loss.options()));
  if (!made.ok()) return Annotate(made.status(), "loss");
  settings.loss = *std::move(made);
  absl::StatusOr<train::NamedAdvantage> advantage = train::MakeAdvantage(
      config.advantage().name(), ValuesOf(config.advantage().options()));
  if (!advantage.ok()) return Annotate(advantage.status(), "grpo.advantage");
  settings.advantage = *std::move(advantage);
  settings.objective = {.temperature = sampling.temperature,
                        .max_completion_length = sampling.max_new_tokens,
                        .entropy = true};
  return settings;
}

void FillDefaults(pb::SamplingConfig& config) { Sampling(config); }

void FillDefaults(pb::PpoConfig& config) { Ppo(config); }

void FillDefaults(pb::GrpoConfig& config) { Grpo(config); }

#undef ALIGN_READ_OR_FILL
#undef ALIGN_READ

}  // namespace align
