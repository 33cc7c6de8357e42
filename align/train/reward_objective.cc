#include "align/train/reward_objective.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "align/ops/ops.h"
#include "align/train/router_balance.h"

namespace align::train {
namespace {

MetricSums Metrics(std::span<const float> scores, const PackedBatch& packed) {
  double sum = 0, margins = 0, correct = 0;
  for (float score : scores) sum += score;
  for (size_t i = 0; i + 1 < scores.size(); i += 2) {
    margins += static_cast<double>(scores[i]) - scores[i + 1];
    correct += scores[i] > scores[i + 1] ? 1 : 0;
  }
  const auto count = static_cast<double>(scores.size());
  const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
  return {{"accuracy", {correct, count / 2}},
          {"margin", {margins, count / 2}},
          {"mean_reward", {sum, count}},
          {"min_reward", {*low, 1}},
          {"max_reward", {*high, 1}},
          {"num_tokens", Total(static_cast<double>(packed.rows()))}};
}

Tensor ScoresOf(const Tensor& hidden, const Model& model,
                const PackedBatch& packed) {
  return Linear(GatherRows(hidden, packed.last_rows), model.Head());
}

absl::StatusOr<MicroStep> Step(const Model& model,
                               const losses::RewardLoss& loss,
                               const PreferenceBatch& batch) {
  const PackedBatch& packed = batch.packed;
  const auto pairs = static_cast<size_t>(batch.pairs());
  if (pairs == 0 || packed.sequences % 2 != 0 ||
      (!batch.margins.empty() && batch.margins.size() != pairs)) {
    return InvalidArgument("preference batch of " +
                           std::to_string(packed.sequences) + " replies and " +
                           std::to_string(batch.margins.size()) +
                           " margins; expected pairs of replies, and no "
                           "margins or one a pair");
  }
  ALIGN_RETURN_IF_ERROR(model.CheckTokens(packed.tokens, packed.segments));
  RouterBalance balance(model);
  const Tensor scores =
      ScoresOf(balance.Hidden(packed, packed.last_rows), model, packed);
  const std::span<const float> values = scores.values();
  Eigen::ArrayXd chosen(pairs), rejected(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    chosen[i] = values[2 * i];
    rejected[i] = values[2 * i + 1];
  }
  const Eigen::ArrayXd margins = Eigen::Map<const Eigen::ArrayXd>(
      batch.margins.data(), static_cast<Eigen::Index>(batch.margins.size()));
  const losses::BradleyTerryResult result = loss(chosen, rejected, margins);

  MicroStep step;
  step.record_ids = batch.ids;
  step.weight = static_cast<double>(pairs);
  step.metrics = Metrics(values, packed);
  step.loss_sum = result.loss.sum();
  std::vector<float> seed(values.size());
  for (size_t i = 0; i < pairs; ++i) {
    seed[2 * i] = static_cast<float>(result.d_chosen[i]);
    seed[2 * i + 1] = static_cast<float>(result.d_rejected[i]);
  }
  balance.Backward(scores, seed, step);
  return step;
}

}  // namespace

Tensor RewardScores(const Model& model, const PackedBatch& packed) {
  return ScoresOf(
      model.Hidden(packed.tokens, packed.segments, packed.last_rows), model,
      packed);
}

losses::RewardLoss BradleyTerry(const losses::BradleyTerryOptions& options) {
  return [options](const Eigen::ArrayXd& chosen, const Eigen::ArrayXd& rejected,
                   const Eigen::ArrayXd& margins) {
    return losses::BradleyTerryLoss(chosen, rejected, margins, options);
  };
}

Objective<PreferenceBatch> RewardObjective(const Model& model,
                                           losses::RewardLoss loss) {
  return [&model, loss = std::move(loss)](const PreferenceBatch& batch) {
    return Step(model, loss, batch);
  };
}

}  // namespace align::train
