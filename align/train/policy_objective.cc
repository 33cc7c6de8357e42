#include "align/train/policy_objective.h"

#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "align/ops/token_scores.h"
#include "align/train/router_balance.h"
#include "losses/policy_registry.h"

namespace align::train {
namespace {

Eigen::ArrayXd Array(const std::vector<double>& values) {
  return Eigen::Map<const Eigen::ArrayXd>(
      values.data(), static_cast<Eigen::Index>(values.size()));
}

Eigen::ArrayXd Array(std::span<const float> values) {
  return Eigen::Map<const Eigen::ArrayXf>(
             values.data(), static_cast<Eigen::Index>(values.size()))
      .cast<double>();
}

absl::Status Check(const Model& policy, const losses::PolicyNeeds& needs,
                   const PolicyBatch& batch) {
  const PackedBatch& packed = batch.packed;
  const size_t tokens = packed.scored.size();
  const auto sequences = static_cast<size_t>(packed.sequences);
  const bool per_token = !batch.token_advantages.empty();
  if (per_token && !batch.advantages.empty()) {
    return InvalidArgument(
        "policy batch: advantages by sequence and by token; expected one");
  }
  struct Field {
    const char* name;
    size_t size, expected;
  };
  for (const Field& field :
       {Field{"old_log_probs", batch.old_log_probs.size(), tokens},
        Field{"reference_log_probs", batch.reference_log_probs.size(),
              needs.reference ? tokens : batch.reference_log_probs.size()},
        Field{"advantages", batch.advantages.size(),
              per_token || (tokens == 0 && batch.advantages.empty())
                  ? 0
                  : sequences},
        Field{"token_advantages", batch.token_advantages.size(),
              per_token ? tokens : 0}}) {
    if (field.size == field.expected) continue;
    return InvalidArgument(
        std::string("policy batch: ") + std::to_string(field.size) + " " +
        field.name + " for " + std::to_string(sequences) + " completions of " +
        std::to_string(tokens) + " scored tokens; expected " +
        std::to_string(field.expected));
  }
  return policy.CheckTokens(packed.tokens, packed.segments);
}

losses::PolicyInputs InputsOf(const PolicyBatch& batch) {
  losses::PolicyInputs inputs;
  for (int64_t offset : batch.packed.ScoredOffsets()) {
    inputs.offsets.push_back(offset);
  }
  inputs.old_log_prob = inputs.sampler_log_prob = Array(batch.old_log_probs);
  inputs.reference_log_prob = Array(batch.reference_log_probs);
  inputs.advantages = Array(batch.advantages);
  inputs.token_advantages = Array(batch.token_advantages);
  return inputs;
}

absl::StatusOr<ForwardPass<PolicyScores>> Forward(
    const Model& policy, const losses::PolicyNeeds& needs,
    const PolicyObjectiveOptions& options, const PolicyBatch& batch) {
  ALIGN_RETURN_IF_ERROR(Check(policy, needs, batch));
  const PackedBatch& packed = batch.packed;
  ForwardPass<PolicyScores> pass;
  pass.scores.inputs = InputsOf(batch);
  pass.scores.ids = batch.ids;
  pass.scores.metrics = batch.rollout_metrics;
  pass.scores.metrics["num_tokens"] = Total(static_cast<double>(packed.rows()));
  pass.backward = [](std::span<const float>, MicroStep&) {};
  if (packed.scored.empty()) return pass;
  RouterBalance balance(policy);
  const TokenScores scores =
      ScoreTokens(balance.Hidden(packed, RowsOf(packed.scored)), policy.Head(),
                  packed.scored,
                  {.temperature = options.temperature,
                   .entropy = options.entropy || needs.entropy});
  pass.scores.inputs.log_prob = Array(scores.log_probs());
  if (options.entropy || needs.entropy) {
    pass.scores.inputs.entropy = Array(scores.entropies());
  }
  pass.backward = BalancedBackward(scores.values, std::move(balance));
  return pass;
}

void Append(const Eigen::ArrayXd& part, Eigen::ArrayXd& whole) {
  const Eigen::Index before = whole.size();
  whole.conservativeResize(before + part.size());
  whole.tail(part.size()) = part;
}

// The micro-batches of a step as one.
losses::PolicyInputs Join(std::span<const PolicyScores> all,
                          int64_t max_completion_length) {
  using losses::PolicyInputs;
  PolicyInputs joined;
  joined.max_completion_length = static_cast<double>(max_completion_length);
  joined.offsets = {0};
  for (const PolicyScores& scores : all) {
    const Eigen::Index before = joined.offsets.back();
    for (Eigen::Index i = 1; i <= scores.inputs.sequences(); ++i) {
      joined.offsets.push_back(before + scores.inputs.offsets[i]);
    }
    for (Eigen::ArrayXd PolicyInputs::*field :
         {&PolicyInputs::log_prob, &PolicyInputs::old_log_prob,
          &PolicyInputs::sampler_log_prob, &PolicyInputs::reference_log_prob,
          &PolicyInputs::entropy, &PolicyInputs::advantages,
          &PolicyInputs::token_advantages}) {
      Append(scores.inputs.*field, joined.*field);
    }
  }
  return joined;
}

// Shares of a step: the loss sum and the seeds of each micro-batch are its own;
// the weight and the metrics of the loss are the step's and stand in the first.
absl::StatusOr<std::vector<SeededStep>> Evaluate(
    const NamedPolicyLoss& loss, const PolicyObjectiveOptions& options,
    std::span<const PolicyScores> all) {
  const losses::PolicyInputs joined = Join(all, options.max_completion_length);
  if (joined.advantages.size() > 0 && joined.token_advantages.size() > 0) {
    return InvalidArgument(
        "policy step: advantages by sequence in one micro-batch and by token "
        "in another; expected one kind");
  }
  if (loss.needs.max_completion_length && options.max_completion_length < 1) {
    return InvalidArgument(
        "policy step: max_completion_length is not set; expected at least 1, "
        "because the loss divides by it");
  }
  const losses::PolicyResult result = loss.loss(joined);
  std::vector<SeededStep> shares;
  Eigen::Index begin = 0;
  for (const PolicyScores& scores : all) {
    const Eigen::Index tokens = scores.inputs.log_prob.size();
    SeededStep share;
    share.step.loss_sum = result.loss.segment(begin, tokens).sum();
    share.step.record_ids = scores.ids;
    share.step.metrics = scores.metrics;
    share.seed.resize(tokens + scores.inputs.entropy.size());
    for (Eigen::Index t = 0; t < tokens; ++t) {
      share.seed[t] = static_cast<float>(result.d_log_prob[begin + t]);
      if (result.d_entropy.size() == 0) continue;
      share.seed[tokens + t] = static_cast<float>(result.d_entropy[begin + t]);
    }
    begin += tokens;
    shares.push_back(std::move(share));
  }
  MicroStep& first = shares.at(0).step;
  first.weight = result.weight;
  for (const losses::PolicyMetric& metric : result.metrics) {
    first.metrics[metric.name] = {metric.value.sum, metric.value.weight};
  }
  return shares;
}

}  // namespace

absl::StatusOr<NamedPolicyLoss> MakePolicyLoss(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values) {
  losses::PolicyLossOrError made = losses::MakePolicyLoss(name, values);
  if (!made.ok()) return InvalidArgument(made.error);
  return NamedPolicyLoss{std::move(made.loss), made.needs, made.beta};
}

CoupledObjective<PolicyBatch, PolicyScores> PolicyObjective(
    const Model& policy, const NamedPolicyLoss& loss,
    const PolicyObjectiveOptions& options) {
  return {.forward =
              [&policy, needs = loss.needs, options](const PolicyBatch& batch) {
                return Forward(policy, needs, options, batch);
              },
          .evaluate =
              [loss, options](std::span<const PolicyScores> all) {
                return Evaluate(loss, options, all);
              }};
}

MicroSteps BindPolicy(Source<PolicyBatch> source, const Model& policy,
                      const NamedPolicyLoss& loss,
                      const PolicyObjectiveOptions& options,
                      int64_t accumulation, PolicyCoupling coupling) {
  CoupledObjective<PolicyBatch, PolicyScores> objective =
      PolicyObjective(policy, loss, options);
  if (loss.needs.coupled && coupling == PolicyCoupling::kGlobal) {
    return BindCoupled(std::move(source), std::move(objective), accumulation);
  }
  return Bind<PolicyBatch>(std::move(source),
                           PerMicroBatch(std::move(objective)));
}

}  // namespace align::train
