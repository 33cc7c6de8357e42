#include "align/train/ppo_objective.h"

#include <cmath>
#include <utility>

#include "align/ops/ops.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"

namespace align::train {
namespace {

absl::Status Check(const Model& policy, const Model& critic,
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
  return critic.CheckTokens(packed.tokens, packed.segments);
}

double Sum(const std::vector<double>& values) {
  double sum = 0;
  for (double value : values) sum += value;
  return sum;
}

double Count(const std::vector<uint8_t>& flags) {
  double count = 0;
  for (uint8_t flag : flags) count += flag;
  return count;
}

MetricSums Metrics(std::span<const double> log_probs,
                   std::span<const float> entropies, const PpoBatch& batch,
                   const TokenLossValues& policy,
                   const TokenLossValues& value) {
  double squares = 0, ratios = 0, entropy = 0;
  for (size_t i = 0; i < log_probs.size(); ++i) {
    const double log_ratio = log_probs[i] - batch.old_log_probs[i];
    squares += log_ratio * log_ratio;
    ratios += std::exp(log_ratio);
    entropy += entropies[i];
  }
  const auto n = static_cast<double>(log_probs.size());
  return {{"loss/policy_avg", {Sum(policy.loss), n}},
          {"loss/value_avg", {Sum(value.loss), n}},
          {"policy/approxkl_avg", {0.5 * squares, n}},
          {"policy/clipfrac_avg", {Count(policy.clipped), n}},
          {"policy/entropy_avg", {entropy, n}},
          {"val/clipfrac_avg", {Count(value.clipped), n}},
          {"val/ratio", {ratios, n}}};
}

absl::StatusOr<MicroStep> Step(const Model& policy, const Model& critic,
                               const PolicyLoss& policy_loss,
                               const ValueLoss& value_loss,
                               const PpoObjectiveOptions& options,
                               const PpoBatch& batch) {
  ALIGN_RETURN_IF_ERROR(Check(policy, critic, batch));
  const PackedBatch& packed = batch.packed;
  const size_t count = packed.scored.size();
  const TokenScores scores = ScoreTokens(
      policy.Hidden(packed.tokens, packed.segments), policy.Head(),
      packed.scored, {.temperature = options.temperature, .entropy = true});
  const Tensor values = TokenValues(critic, packed);
  const std::vector<double> log_probs(scores.log_probs().begin(),
                                      scores.log_probs().end());
  const std::vector<double> now(values.data(), values.data() + count);
  const TokenLossValues of_policy =
      policy_loss(log_probs, batch.old_log_probs, batch.advantages);
  const TokenLossValues of_value =
      value_loss(now, batch.old_values, batch.returns);

  MicroStep step;
  step.record_ids = batch.ids;
  step.weight = static_cast<double>(count);
  step.loss_sum =
      Sum(of_policy.loss) + options.value_weight * Sum(of_value.loss);
  step.metrics =
      Metrics(log_probs, scores.entropies(), batch, of_policy, of_value);
  std::vector<float> policy_seed(scores.values.size(), 0.0f);
  std::vector<float> value_seed(count);
  for (size_t i = 0; i < count; ++i) {
    policy_seed[i] = static_cast<float>(of_policy.seed[i]);
    value_seed[i] = static_cast<float>(options.value_weight * of_value.seed[i]);
  }
  const Root roots[] = {{.output = scores.values, .seed = policy_seed},
                        {.output = values, .seed = value_seed}};
  Backward(roots);
  return step;
}

}  // namespace

Tensor TokenValues(const Model& critic, const PackedBatch& packed) {
  std::vector<int32_t> rows;
  for (const ScoredToken& token : packed.scored) rows.push_back(token.row);
  const Tensor hidden = critic.Hidden(packed.tokens, packed.segments);
  return Linear(GatherRows(hidden, rows), critic.Head());
}

Objective<PpoBatch> PpoObjective(const Model& policy, const Model& critic,
                                 PolicyLoss policy_loss, ValueLoss value_loss,
                                 const PpoObjectiveOptions& options) {
  return [&policy, &critic, policy_loss = std::move(policy_loss),
          value_loss = std::move(value_loss), options](const PpoBatch& batch) {
    return Step(policy, critic, policy_loss, value_loss, options, batch);
  };
}

}  // namespace align::train
