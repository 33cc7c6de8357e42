#include "align/train/ppo_objective.h"

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "align/ops/ops.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "align/train/router_balance.h"

namespace align::train {
namespace {

// Where values come from: `trunk` with its own head, or with `head`.
struct Critic {
  const Model* trunk = nullptr;
  const ValueHead* head = nullptr;
};

absl::Status Check(const Model& policy, const Critic& critic,
                   const PpoBatch& batch) {
  const PackedBatch& packed = batch.packed;
  for (const std::vector<double>* values :
       {&batch.old_log_probs, &batch.advantages, &batch.old_values,
        &batch.returns}) {
    if (packed.scored.empty() || values->size() != packed.scored.size()) {
      return InvalidArgument("PPO batch: " + std::to_string(values->size()) +
                             " values for " +
                             std::to_string(packed.scored.size()) +
                             " scored tokens; expected one each, at least one");
    }
  }
  ALIGN_RETURN_IF_ERROR(policy.CheckTokens(packed.tokens, packed.segments));
  return critic.trunk->CheckTokens(packed.tokens, packed.segments);
}

Eigen::Map<const Eigen::ArrayXd> View(const std::vector<double>& values) {
  return {values.data(), static_cast<Eigen::Index>(values.size())};
}

Eigen::ArrayXd ToDouble(std::span<const float> values) {
  return Eigen::Map<const Eigen::ArrayXf>(
             values.data(), static_cast<Eigen::Index>(values.size()))
      .cast<double>();
}

MetricSums Metrics(const Eigen::ArrayXd& log_ratios,
                   std::span<const float> entropies,
                   const losses::PpoPolicyResult& policy,
                   const losses::PpoValueResult& value) {
  double entropy = 0;
  for (float token : entropies) entropy += token;
  const auto n = static_cast<double>(log_ratios.size());
  return {{"loss/policy_avg", {policy.loss.sum(), n}},
          {"loss/value_avg", {value.loss.sum(), n}},
          {"policy/approxkl_avg", {0.5 * log_ratios.square().sum(), n}},
          {"policy/clipfrac_avg", {policy.clipped.sum(), n}},
          {"policy/entropy_avg", {entropy, n}},
          {"val/clipfrac_avg", {value.clipped.sum(), n}},
          {"val/ratio", {policy.ratio.sum(), n}}};
}

// The hidden rows at which `packed` is scored.
Tensor StateRows(const Model& model, const PackedBatch& packed) {
  const std::vector<int32_t> states = RowsOf(packed.scored);
  return GatherRows(model.Hidden(packed.tokens, packed.segments, states),
                    states);
}

absl::StatusOr<MicroStep> Step(const Model& policy, const Critic& critic,
                               const PpoObjectiveOptions& options,
                               const PpoBatch& batch) {
  ALIGN_RETURN_IF_ERROR(Check(policy, critic, batch));
  const PackedBatch& packed = batch.packed;
  const size_t count = packed.scored.size();
  RouterBalance balance(policy);
  const std::vector<int32_t> states = RowsOf(packed.scored);
  const Tensor hidden = balance.Hidden(packed, states);
  const TokenScores scores =
      ScoreTokens(hidden, policy.Head(), packed.scored,
                  {.temperature = options.temperature, .entropy = true});
  const Tensor values = critic.head != nullptr
                            ? critic.head->Values(GatherRows(hidden, states))
                            : TokenValues(*critic.trunk, packed);
  const Eigen::ArrayXd log_probs = ToDouble(scores.log_probs());
  const losses::PpoPolicyResult of_policy =
      losses::PpoPolicyLoss(log_probs, View(batch.old_log_probs),
                            View(batch.advantages), options.policy);
  const losses::PpoValueResult of_value =
      losses::PpoValueLoss(ToDouble(values.values()), View(batch.old_values),
                           View(batch.returns), options.value);

  MicroStep step;
  step.record_ids = batch.ids;
  step.weight = static_cast<double>(count);
  const bool dropped = losses::RatiosRanAway(
      of_policy.ratio, Eigen::ArrayXd::Ones(of_policy.ratio.size()),
      options.ratio_threshold);
  const double policy_weight = dropped ? 0 : 1;
  const double value_weight = dropped ? 0 : options.value_weight;
  step.loss_sum =
      policy_weight * of_policy.loss.sum() + value_weight * of_value.loss.sum();
  step.metrics = Metrics(log_probs - View(batch.old_log_probs),
                         scores.entropies(), of_policy, of_value);
  step.metrics["num_tokens"] = Total(static_cast<double>(packed.rows()));
  step.metrics.insert(batch.rollout_metrics.begin(),
                      batch.rollout_metrics.end());
  std::vector<float> policy_seed(scores.values.size(), 0.0f);
  std::vector<float> value_seed(count);
  for (size_t i = 0; i < count; ++i) {
    policy_seed[i] =
        static_cast<float>(policy_weight * of_policy.d_log_prob[i]);
    value_seed[i] = static_cast<float>(value_weight * of_value.d_value[i]);
  }
  const Root roots[] = {{.output = scores.values, .seed = policy_seed},
                        {.output = values, .seed = value_seed}};
  balance.Backward(roots, step);
  return step;
}

}  // namespace

Tensor TokenValues(const Model& critic, const PackedBatch& packed) {
  return Linear(StateRows(critic, packed), critic.Head());
}

Tensor TokenValues(const Model& policy, const ValueHead& head,
                   const PackedBatch& packed) {
  return head.Values(StateRows(policy, packed));
}

Objective<PpoBatch> PpoObjective(const Model& policy, const Model& critic,
                                 const PpoObjectiveOptions& options) {
  return [&policy, &critic, options](const PpoBatch& batch) {
    return Step(policy, {.trunk = &critic}, options, batch);
  };
}

Objective<PpoBatch> PpoObjective(const Model& policy, const ValueHead& head,
                                 const PpoObjectiveOptions& options) {
  return [&policy, &head, options](const PpoBatch& batch) {
    return Step(policy, {.trunk = &policy, .head = &head}, options, batch);
  };
}

}  // namespace align::train
