#include "align/train/preference_objective.h"

#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "align/base/check.h"
#include "align/train/sequence_sums.h"
#include "losses/bco_pair.h"
#include "losses/registry.h"

namespace align::train {
namespace {

// The pairs of all micro-batches, in order.
losses::PairInputs Concatenate(std::span<const PairScores> all) {
  losses::PairInputs pairs;
  for (Eigen::ArrayXd losses::PairInputs::*field : losses::kPairFields) {
    Eigen::Index size = 0;
    for (const PairScores& part : all) size += (part.inputs.*field).size();
    (pairs.*field).resize(size);
    Eigen::Index at = 0;
    for (const PairScores& part : all) {
      const Eigen::ArrayXd& values = part.inputs.*field;
      (pairs.*field).segment(at, values.size()) = values;
      at += values.size();
    }
  }
  return pairs;
}

void AddMetrics(const losses::PairLossResult& values, Eigen::Index first,
                Eigen::Index count, MetricSums& metrics) {
  for (const auto& [name, column] : values.metrics) {
    metrics[name] = {column.segment(first, count).sum(),
                     static_cast<double>(count)};
  }
  for (Eigen::Index i = first; i < first + count; ++i) {
    const double chosen = values.chosen_rewards[i];
    const double rejected = values.rejected_rewards[i];
    Observe(metrics, "rewards/chosen", chosen);
    Observe(metrics, "rewards/rejected", rejected);
    Observe(metrics, "rewards/margins", chosen - rejected);
    Observe(metrics, "rewards/accuracies", chosen > rejected ? 1 : 0);
  }
}

// d (sum of losses) / d (log-prob of `token`), the pair standing at row `i`.
// NLL is minus a log-prob.
double Seed(const losses::PairLossResult& values, const PairToken& token,
            Eigen::Index i) {
  const auto at = [i](const Eigen::ArrayXd& gradient) {
    return gradient.size() > 0 ? gradient[i] : 0.0;
  };
  double seed = token.chosen ? -at(values.d_chosen_nll) : 0.0;
  if (token.prompt) return seed;
  seed += at(token.chosen ? values.d_policy_chosen : values.d_policy_rejected);
  if (token.head) {
    seed += at(token.chosen ? values.d_policy_chosen_head
                            : values.d_policy_rejected_head);
  }
  return seed;
}

std::vector<SeededStep> Evaluate(const NamedPairLoss& loss,
                                 losses::RunningMoments& moments,
                                 std::span<const PairScores> all) {
  losses::PairInputs pairs = Concatenate(all);
  if (loss.needs.running_mean) losses::TakeIntoRunningMean(moments, pairs);
  const losses::PairLossResult values = loss.loss(pairs);
  for (const Eigen::ArrayXd* field :
       {&values.loss, &values.d_policy_chosen, &values.d_policy_rejected,
        &values.chosen_rewards, &values.rejected_rewards}) {
    ALIGN_CHECK(field->size() == pairs.policy_chosen.size())
        << "[PreferenceObjective] the loss gave " << field->size()
        << " values for " << pairs.policy_chosen.size() << " pairs";
  }
  std::vector<SeededStep> shares;
  Eigen::Index first = 0;
  for (const PairScores& part : all) {
    const Eigen::Index count = part.inputs.policy_chosen.size();
    SeededStep share{.step = part.step};
    share.step.loss_sum = values.loss.segment(first, count).sum();
    AddMetrics(values, first, count, share.step.metrics);
    for (const PairToken& token : part.tokens) {
      share.seed.push_back(
          static_cast<float>(Seed(values, token, first + token.pair)));
    }
    share.seed.resize(part.outputs, 0.0f);
    shares.push_back(std::move(share));
    first += count;
  }
  return shares;
}

absl::StatusOr<NamedPairLoss> Take(losses::PairLossOrError made) {
  if (!made.ok()) return InvalidArgument(made.error);
  return NamedPairLoss{std::move(made.loss), made.needs, made.beta,
                       made.coupling};
}

}  // namespace

absl::StatusOr<NamedPairLoss> MakePairLoss(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values) {
  return Take(losses::MakePairLoss(name, values));
}

absl::StatusOr<NamedPairLoss> MakePairLoss(
    const std::vector<losses::PairLossTerm>& terms) {
  return Take(losses::MixPairLosses(terms));
}

CoupledObjective<PreferenceBatch, PairScores> PreferenceObjective(
    const Model& model, ReferenceLogProbs reference, NamedPairLoss loss,
    const PreferenceOptions& options) {
  ALIGN_CHECK(reference || !loss.needs.reference)
      << "[PreferenceObjective] the loss needs a reference";
  const bool whole_step =
      loss.needs.coupled && loss.coupling == losses::Coupling::kGlobal;
  const auto own = std::make_shared<losses::RunningMoments>();
  return {.forward =
              [&model, reference = std::move(reference), needs = loss.needs,
               scores = options.scores](const PreferenceBatch& batch) {
                return ScorePairBatch(model, reference, needs, scores, batch);
              },
          .evaluate = [loss = std::move(loss), own,
                       kept = options.moments](std::span<const PairScores> all)
              -> absl::StatusOr<std::vector<SeededStep>> {
            return Evaluate(loss, kept != nullptr ? *kept : *own, all);
          },
          .whole_step = whole_step};
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
