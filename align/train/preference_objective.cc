#include "align/train/preference_objective.h"

#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "losses/registry.h"

namespace align::train {
namespace {

// Sums over each sequence's scored tokens, in double.
std::vector<double> SumBySequence(std::span<const float> values,
                                  const std::vector<int64_t>& offsets) {
  std::vector<double> sums(offsets.size() - 1, 0.0);
  for (size_t s = 0; s < sums.size(); ++s) {
    for (int64_t i = offsets[s]; i < offsets[s + 1]; ++i) sums[s] += values[i];
  }
  return sums;
}

losses::PairInputs MakePairs(const std::vector<double>& policy,
                             const std::vector<double>& reference,
                             const std::vector<int64_t>& offsets) {
  const auto count = static_cast<Eigen::Index>(policy.size() / 2);
  losses::PairInputs pairs;
  for (Eigen::ArrayXd* field :
       {&pairs.policy_chosen, &pairs.policy_rejected, &pairs.reference_chosen,
        &pairs.reference_rejected, &pairs.chosen_tokens,
        &pairs.rejected_tokens}) {
    field->resize(count);
  }
  for (Eigen::Index i = 0; i < count; ++i) {
    const Eigen::Index w = 2 * i, l = 2 * i + 1;
    pairs.policy_chosen[i] = policy[w];
    pairs.policy_rejected[i] = policy[l];
    pairs.reference_chosen[i] = reference[w];
    pairs.reference_rejected[i] = reference[l];
    pairs.chosen_tokens[i] = static_cast<double>(offsets[w + 1] - offsets[w]);
    pairs.rejected_tokens[i] = static_cast<double>(offsets[l + 1] - offsets[l]);
  }
  return pairs;
}

// Adds `value` to the mean that `name` reports.
void Observe(MetricSums& metrics, const std::string& name, double value,
             double weight = 1) {
  metrics[name].sum += value;
  metrics[name].weight += weight;
}

void AddPairMetrics(const losses::PairInputs& pairs,
                    const losses::PairLossResult& values, MetricSums& metrics) {
  for (Eigen::Index i = 0; i < pairs.policy_chosen.size(); ++i) {
    const double chosen = values.chosen_rewards[i];
    const double rejected = values.rejected_rewards[i];
    Observe(metrics, "rewards/chosen", chosen);
    Observe(metrics, "rewards/rejected", rejected);
    Observe(metrics, "rewards/margins", chosen - rejected);
    Observe(metrics, "rewards/accuracies", chosen > rejected ? 1 : 0);
    Observe(metrics, "logps/chosen", pairs.policy_chosen[i]);
    Observe(metrics, "logps/rejected", pairs.policy_rejected[i]);
    Observe(metrics, "nll_loss", -pairs.policy_chosen[i],
            pairs.chosen_tokens[i]);
  }
}

void AddTokenMetrics(const TokenScores& scores, const PackedBatch& packed,
                     const PreferenceOptions& options, MetricSums& metrics) {
  metrics["num_tokens"] = Total(static_cast<double>(packed.rows()));
  for (size_t i = 0; i < packed.scored.size(); ++i) {
    if (options.entropy) Observe(metrics, "entropy", scores.entropies()[i]);
    if (!options.statistics) continue;
    const bool chosen = packed.scored[i].sequence % 2 == 0;
    Observe(metrics, chosen ? "logits/chosen" : "logits/rejected",
            scores.statistics.mean_logit[i]);
    if (chosen) {
      Observe(metrics, "mean_token_accuracy",
              scores.statistics.label_is_argmax[i]);
    }
  }
}

absl::StatusOr<MicroStep> Step(const Model& model,
                               const ReferenceLogProbs& reference,
                               const losses::PairLoss& loss,
                               const PreferenceOptions& options,
                               const PreferenceBatch& batch) {
  const PackedBatch& packed = batch.packed;
  if (packed.sequences % 2 != 0 || packed.scored.empty()) {
    return InvalidArgument("preference batch of " +
                           std::to_string(packed.sequences) + " replies, " +
                           std::to_string(packed.scored.size()) +
                           " scored tokens; expected pairs of replies");
  }
  ALIGN_RETURN_IF_ERROR(model.CheckTokens(packed.tokens, packed.segments));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<float> reference_log_probs,
                         reference(packed));
  const TokenScores scores = ScoreTokens(
      model.Hidden(packed.tokens, packed.segments), model.Head(), packed.scored,
      {.entropy = options.entropy, .statistics = options.statistics});
  const std::vector<int64_t> offsets = packed.ScoredOffsets();
  const losses::PairInputs pairs =
      MakePairs(SumBySequence(scores.log_probs(), offsets),
                SumBySequence(reference_log_probs, offsets), offsets);
  const losses::PairLossResult values = loss(pairs);

  MicroStep step;
  step.record_ids = batch.ids;
  step.weight = static_cast<double>(batch.pairs());
  step.loss_sum = values.loss.sum();
  AddPairMetrics(pairs, values, step.metrics);
  AddTokenMetrics(scores, packed, options, step.metrics);
  std::vector<float> seed(scores.values.size(), 0.0f);
  for (size_t i = 0; i < packed.scored.size(); ++i) {
    const int32_t sequence = packed.scored[i].sequence;
    seed[i] = static_cast<float>(sequence % 2 == 0
                                     ? values.d_policy_chosen[sequence / 2]
                                     : values.d_policy_rejected[sequence / 2]);
  }
  Backward(scores.values, seed);
  return step;
}

}  // namespace

absl::StatusOr<NamedPairLoss> MakePairLoss(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values) {
  losses::PairLossOrError made = losses::MakePairLoss(name, values);
  if (!made.ok()) return InvalidArgument(made.error);
  return NamedPairLoss{std::move(made.loss), made.needs, made.beta};
}

Objective<PreferenceBatch> PreferenceObjective(
    const Model& model, ReferenceLogProbs reference, losses::PairLoss loss,
    const PreferenceOptions& options) {
  return [&model, reference = std::move(reference), loss = std::move(loss),
          options](const PreferenceBatch& batch) {
    return Step(model, reference, loss, options, batch);
  };
}

absl::Status CheckInitialPreferenceStep(const StepReport& report,
                                        std::optional<double> expected_loss,
                                        double tolerance) {
  const auto margins = report.metrics.find("rewards/margins");
  const double margin =
      margins == report.metrics.end() ? std::nan("") : margins->second;
  // Negated so that NaN fails.
  if (!(std::abs(margin) <= tolerance)) {
    return FailedPrecondition(
        "first preference step: mean margin " + std::to_string(margin) +
        "; expected 0, because the policy still is the reference");
  }
  if (expected_loss.has_value() &&
      !(std::abs(report.loss - *expected_loss) <= tolerance)) {
    return FailedPrecondition("first preference step: loss " +
                              std::to_string(report.loss) + "; expected " +
                              std::to_string(*expected_loss) +
                              ", because the policy still is the reference");
  }
  return absl::OkStatus();
}

}  // namespace align::train
