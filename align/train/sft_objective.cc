#include "align/train/sft_objective.h"

#include <span>
#include <vector>

#include "align/ops/token_scores.h"
#include "align/train/router_balance.h"

namespace align::train {
namespace {

MetricSums Metrics(const TokenScores& scores, const SftBatch& batch,
                   const SftOptions& options) {
  const auto count = static_cast<double>(batch.packed.scored.size());
  MetricSums metrics;
  double correct = 0;
  for (uint8_t hit : scores.statistics.label_is_argmax) correct += hit;
  metrics["mean_token_accuracy"] = {correct, count};
  if (options.entropy) {
    double entropy = 0;
    for (float h : scores.entropies()) entropy += h;
    metrics["entropy"] = {entropy, count};
  }
  metrics["num_tokens"] = Total(static_cast<double>(batch.packed.rows()));
  return metrics;
}

absl::StatusOr<MicroStep> Step(const Model& model, const SftOptions& options,
                               const SftBatch& batch) {
  const PackedBatch& packed = batch.packed;
  ALIGN_RETURN_IF_ERROR(model.CheckTokens(packed.tokens, packed.segments));
  MicroStep step;
  step.record_ids = batch.ids;
  step.weight = static_cast<double>(packed.scored.size());
  if (packed.scored.empty()) return step;
  RouterBalance balance(model);
  const TokenScores scores = ScoreTokens(
      balance.Hidden(packed, RowsOf(packed.scored)), model.Head(),
      packed.scored, {.entropy = options.entropy, .statistics = true});
  const Eigen::ArrayXd log_probs =
      Eigen::Map<const Eigen::ArrayXf>(
          scores.log_probs().data(),
          static_cast<Eigen::Index>(packed.scored.size()))
          .cast<double>();
  const losses::TokenLossResult loss = options.loss(log_probs);
  step.loss_sum = loss.loss.sum();
  step.metrics = Metrics(scores, batch, options);
  // The entropies, if any, are not optimised.
  std::vector<float> seed(scores.values.size(), 0.0f);
  for (size_t i = 0; i < packed.scored.size(); ++i) {
    seed[i] = static_cast<float>(loss.d_log_prob[static_cast<Eigen::Index>(i)]);
  }
  balance.Backward(scores.values, seed, step);
  return step;
}

}  // namespace

Objective<SftBatch> SftObjective(const Model& model,
                                 const SftOptions& options) {
  return [&model, options](const SftBatch& batch) {
    return Step(model, options, batch);
  };
}

}  // namespace align::train
