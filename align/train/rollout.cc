#include "align/train/rollout.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "align/dnnl/matmul.h"
#include "losses/kl.h"

namespace align::train {

ReplyGenerator SampleReplies(const Model& policy,
                             const samplers::SamplingOptions& options,
                             std::function<bool()> stop, int64_t samples) {
  return [&policy, options, stop = std::move(stop), samples](
             std::span<const std::vector<int32_t>> prompts, const Rng& rng)
             -> absl::StatusOr<std::vector<samplers::Completion>> {
    if (!(options.temperature > 0)) {
      return InvalidArgument("rollout: temperature " +
                             std::to_string(options.temperature) +
                             "; expected more than 0, as ratios need it");
    }
    if (options.cache_mode != CacheMode::kExact) {
      return InvalidArgument(
          "rollout: an absorbed cache; expected an exact one, as the samples' "
          "log-probs must be the scorer's to the bit");
    }
    return samplers::Generate(policy, prompts, samples, options, rng, {}, stop);
  };
}

ReplyGenerator GreedyReplies(const Model& policy,
                             samplers::SamplingOptions options,
                             std::function<bool()> stop) {
  options.temperature = 0;
  return [&policy, options, stop = std::move(stop)](
             std::span<const std::vector<int32_t>> prompts, const Rng& rng) {
    return samplers::Generate(policy, prompts, 1, options, rng, {}, stop);
  };
}

ReplyGenerator SampleMixture(std::vector<const Model*> models,
                             std::vector<double> weights,
                             const samplers::SamplingOptions& options,
                             std::function<bool()> stop) {
  return [models = std::move(models),
          rule = samplers::GeometricMixture(std::move(weights)), options,
          stop = std::move(stop)](std::span<const std::vector<int32_t>> prompts,
                                  const Rng& rng) {
    return samplers::GenerateCombined(models, rule, prompts, 1, options, rng,
                                      {}, stop);
  };
}

ReplyGenerator OneOfEach(ReplyGenerator first, ReplyGenerator second) {
  return [first = std::move(first), second = std::move(second)](
             std::span<const std::vector<int32_t>> prompts, const Rng& rng)
             -> absl::StatusOr<std::vector<samplers::Completion>> {
    ALIGN_ASSIGN_OR_RETURN(std::vector<samplers::Completion> a,
                           first(prompts, rng.Fork("first")));
    ALIGN_ASSIGN_OR_RETURN(std::vector<samplers::Completion> b,
                           second(prompts, rng.Fork("second")));
    ALIGN_RETURN_IF_ERROR(CheckReplies("first replies", a, prompts.size()));
    ALIGN_RETURN_IF_ERROR(CheckReplies("second replies", b, prompts.size()));
    std::vector<samplers::Completion> both;
    for (size_t p = 0; p < prompts.size(); ++p) {
      both.push_back(std::move(a[p]));
      both.push_back(std::move(b[p]));
    }
    return both;
  };
}

absl::Status CheckReplies(const std::string& where,
                          const std::vector<samplers::Completion>& completions,
                          size_t count) {
  if (completions.size() != count) {
    return InvalidArgument(where + ": the generator gave " +
                           std::to_string(completions.size()) +
                           " completions; expected " + std::to_string(count));
  }
  for (size_t i = 0; i < count; ++i) {
    const samplers::Completion& c = completions[i];
    if (c.tokens.empty() || c.tokens.size() != c.log_probs.size()) {
      return InvalidArgument(where + ": completion " + std::to_string(i) +
                             " has " + std::to_string(c.tokens.size()) +
                             " tokens and " +
                             std::to_string(c.log_probs.size()) +
                             " log-probs; expected one each, at least one");
    }
  }
  return absl::OkStatus();
}

PromptBatch TakePrompts(const PromptBatch& all,
                        const std::vector<int64_t>& indices) {
  PromptBatch taken;
  for (int64_t i : indices) {
    taken.prompts.push_back(all.prompts[i]);
    taken.ids.push_back(all.ids.empty() ? std::to_string(i) : all.ids[i]);
  }
  return taken;
}

std::vector<std::vector<int32_t>> RepeatEach(
    const std::vector<std::vector<int32_t>>& prompts, int64_t times) {
  std::vector<std::vector<int32_t>> repeated;
  for (const std::vector<int32_t>& prompt : prompts) {
    repeated.insert(repeated.end(), times, prompt);
  }
  return repeated;
}

absl::Status CheckPlan(const std::string& where, const RolloutPlan& plan,
                       int64_t prompts_there) {
  const auto bad = [&where](const std::string& what) {
    return InvalidArgument(where + ": " + what);
  };
  if (prompts_there == 0) return bad("no prompts; expected at least one");
  if (plan.prompts < 1) {
    return bad("prompts " + std::to_string(plan.prompts) + " < 1");
  }
  if (plan.epochs < 1) {
    return bad("epochs " + std::to_string(plan.epochs) + " < 1");
  }
  if (plan.minibatches < 1 || plan.minibatches > plan.prompts) {
    return bad("minibatches " + std::to_string(plan.minibatches) +
               "; expected 1 to " + std::to_string(plan.prompts) +
               ", the prompts of a rollout");
  }
  for (const auto& [name, value] : {std::pair("kl_coef", plan.kl_coef),
                                    std::pair("kl_target", plan.kl_target)}) {
    if (std::isfinite(value) && value >= 0) continue;
    return bad(std::string(name) + " " + std::to_string(value) +
               " is not a number >= 0");
  }
  if (!(plan.kl_horizon > 0)) {
    return bad("kl_horizon " + std::to_string(plan.kl_horizon) +
               " is not a number > 0");
  }
  return absl::OkStatus();
}

RolloutSchedule::RolloutSchedule(const RolloutPlan& plan, int64_t prompts_there,
                                 const Rng& rng)
    : plan_(plan), prompts_there_(prompts_there), rng_(rng) {
  state_.kl_coef = plan.kl_coef;
}

bool RolloutSchedule::done() const {
  return plan_.rollouts > 0 && state_.rollout >= plan_.rollouts;
}

std::vector<int64_t> RolloutSchedule::Prompts() const {
  int64_t pass = -1;
  std::vector<int64_t> order, prompts;
  for (int64_t k = 0; k < plan_.prompts; ++k) {
    const int64_t position = state_.rollout * plan_.prompts + k;
    if (position / prompts_there_ != pass) {
      pass = position / prompts_there_;
      order = rng_.Fork("prompts")
                  .Fork(static_cast<uint64_t>(pass))
                  .Permutation(prompts_there_);
    }
    prompts.push_back(order[position % prompts_there_]);
  }
  return prompts;
}

Rng RolloutSchedule::SamplingStream() const {
  return rng_.Fork("sample").Fork(static_cast<uint64_t>(state_.rollout));
}

void RolloutSchedule::Begin(int64_t tokens) {
  const Rng rng =
      rng_.Fork("minibatches").Fork(static_cast<uint64_t>(state_.rollout));
  for (int64_t epoch = 0; epoch < plan_.epochs; ++epoch) {
    const std::vector<int64_t> order =
        rng.Fork(static_cast<uint64_t>(epoch)).Permutation(plan_.prompts);
    for (int64_t m = 0; m < plan_.minibatches; ++m) {
      pending_.emplace_back(
          order.begin() + m * plan_.prompts / plan_.minibatches,
          order.begin() + (m + 1) * plan_.prompts / plan_.minibatches);
    }
  }
  std::reverse(pending_.begin(), pending_.end());
  state_.tokens_sampled += tokens;
  ++state_.rollout;
}

std::vector<int64_t> RolloutSchedule::NextBatch() {
  std::vector<int64_t> members = std::move(pending_.back());
  pending_.pop_back();
  return members;
}

void RolloutSchedule::UpdateKl(double kl, double completions) {
  if (plan_.kl_target == 0) return;
  losses::AdaptiveKlController controller({.initial = state_.kl_coef,
                                           .target = plan_.kl_target,
                                           .horizon = plan_.kl_horizon});
  controller.Update(kl, completions);
  state_.kl_coef = controller.coefficient();
}

void RolloutSchedule::set_state(const RolloutState& state) {
  state_ = state;
  pending_.clear();
}

absl::Status CheckInitialRatios(const StepReport& report) {
  const double tolerance =
      GetMatmulMode() == MatmulMode::kTolerance ? 1e-4 : 0.0;
  for (const auto& [name, expected] :
       {std::pair("val/ratio", 1.0), std::pair("policy/approxkl_avg", 0.0)}) {
    const auto found = report.metrics.find(name);
    const double value =
        found == report.metrics.end() ? std::nan("") : found->second;
    // Negated so that NaN fails.
    if (!(std::abs(value - expected) <= tolerance)) {
      return FailedPrecondition(
          "first step on fresh samples: " + std::string(name) + " is off by " +
          std::to_string(value - expected) + "; expected exactly " +
          std::to_string(static_cast<int>(expected)) +
          ", because the samples are the policy's own");
    }
  }
  return absl::OkStatus();
}

}  // namespace align::train
