#include "align/train/unpaired_objective.h"

#include <memory>
#include <span>
#include <utility>

#include "align/base/check.h"
#include "align/ops/token_scores.h"
#include "align/train/router_balance.h"
#include "align/train/sequence_sums.h"

namespace align::train {
namespace {

const char* KindOf(bool desirable) { return desirable ? "chosen" : "rejected"; }

absl::Status Check(const Model& model, const losses::UnpairedNeeds& needs,
                   const UnpairedBatch& batch) {
  const auto rows = static_cast<size_t>(batch.rows());
  const auto sequences = static_cast<size_t>(batch.packed.sequences);
  if (batch.packed.scored.empty() || batch.desirable.size() != rows ||
      sequences != (batch.mismatched ? 2 * rows : rows)) {
    return InvalidArgument(
        "unpaired batch of " + std::to_string(rows) +
        " rows: " + std::to_string(batch.desirable.size()) + " labels, " +
        std::to_string(sequences) + " replies, " +
        std::to_string(batch.packed.scored.size()) +
        " scored tokens; expected a label and a reply a row, and a mismatched "
        "reply each or none");
  }
  if (needs.mismatched && !batch.mismatched) {
    return InvalidArgument("unpaired batch of " + std::to_string(rows) +
                           " rows: no mismatched replies; the loss expects one "
                           "a row (LoaderOptions::mismatch_group)");
  }
  if (needs.density_ratio && batch.density_ratios.size() != rows) {
    return InvalidArgument(
        "unpaired batch of " + std::to_string(rows) +
        " rows: " + std::to_string(batch.density_ratios.size()) +
        " density ratios; the loss expects one a row");
  }
  return model.CheckTokens(batch.packed.tokens, batch.packed.segments);
}

// Log-probs of replies and of the mismatched ones after them.
void SetSums(std::span<const float> log_probs, const UnpairedBatch& batch,
             Eigen::ArrayXd& replies, Eigen::ArrayXd& mismatched) {
  const std::vector<double> sums = SumBySequence(log_probs, batch.packed);
  const Eigen::Map<const Eigen::ArrayXd> all(
      sums.data(), static_cast<Eigen::Index>(sums.size()));
  replies = all.head(batch.rows());
  mismatched = all.tail(all.size() - replies.size());
}

void AddMetrics(const TokenScores& scores, const UnpairedBatch& batch,
                const UnpairedOptions& options, UnpairedScores& out) {
  MetricSums& metrics = out.step.metrics;
  for (int64_t i = 0; i < batch.rows(); ++i) {
    Observe(metrics, std::string("logps/") + KindOf(batch.desirable[i] != 0),
            out.inputs.policy[i]);
  }
  metrics["num_tokens"] = Total(static_cast<double>(batch.packed.rows()));
  for (size_t k = 0; k < out.rows.size(); ++k) {
    if (options.entropy) Observe(metrics, "entropy", scores.entropies()[k]);
    if (!options.statistics) continue;
    const bool desirable = batch.desirable[out.rows[k]] != 0;
    Observe(metrics, std::string("logits/") + KindOf(desirable),
            scores.statistics.mean_logit[k]);
  }
}

absl::StatusOr<ForwardPass<UnpairedScores>> Forward(
    const Model& model, const ReferenceLogProbs& reference,
    const losses::UnpairedNeeds& needs, const UnpairedOptions& options,
    const UnpairedBatch& batch) {
  ALIGN_RETURN_IF_ERROR(Check(model, needs, batch));
  const PackedBatch& packed = batch.packed;
  std::vector<float> reference_log_probs;
  if (reference) {
    ALIGN_ASSIGN_OR_RETURN(reference_log_probs, reference(packed));
  }
  RouterBalance balance(model);
  const TokenScores scores = ScoreTokens(
      balance.Hidden(packed, RowsOf(packed.scored)), model.Head(),
      packed.scored,
      {.entropy = options.entropy, .statistics = options.statistics});
  UnpairedScores out;
  out.outputs = scores.values.size();
  losses::UnpairedInputs& in = out.inputs;
  SetSums(scores.log_probs(), batch, in.policy, in.mismatched_policy);
  if (reference) {
    SetSums(reference_log_probs, batch, in.reference, in.mismatched_reference);
  }
  in.desirable.resize(batch.rows());
  for (int64_t i = 0; i < batch.rows(); ++i) {
    in.desirable[i] = batch.desirable[i] != 0;
  }
  if (needs.density_ratio) {
    in.density_ratio = Eigen::Map<const Eigen::ArrayXd>(
        batch.density_ratios.data(), batch.rows());
  }
  for (const ScoredToken& token : packed.scored) {
    if (token.sequence < batch.rows()) out.rows.push_back(token.sequence);
  }
  out.step.record_ids = batch.ids;
  out.step.weight = static_cast<double>(batch.rows());
  AddMetrics(scores, batch, options, out);
  return ForwardPass<UnpairedScores>{
      std::move(out), BalancedBackward(scores.values, std::move(balance))};
}

// Arrays of all micro-batches one after the other.
template <class Array>
Array Concatenate(std::span<const UnpairedScores> all,
                  Array losses::UnpairedInputs::*field) {
  Eigen::Index size = 0;
  for (const UnpairedScores& part : all) size += (part.inputs.*field).size();
  Array values(size);
  Eigen::Index at = 0;
  for (const UnpairedScores& part : all) {
    const Array& from = part.inputs.*field;
    values.segment(at, from.size()) = from;
    at += from.size();
  }
  return values;
}

losses::UnpairedInputs Concatenate(std::span<const UnpairedScores> all) {
  using In = losses::UnpairedInputs;
  return {.policy = Concatenate(all, &In::policy),
          .reference = Concatenate(all, &In::reference),
          .desirable = Concatenate(all, &In::desirable),
          .mismatched_policy = Concatenate(all, &In::mismatched_policy),
          .mismatched_reference = Concatenate(all, &In::mismatched_reference),
          .density_ratio = Concatenate(all, &In::density_ratio)};
}

// What there is once for all that the loss sees.
void AddWholeMetrics(const losses::UnpairedInputs& in,
                     const losses::UnpairedNeeds& needs,
                     const losses::UnpairedResult& values,
                     MetricSums& metrics) {
  const Eigen::ArrayXd desirable = in.desirable.cast<double>();
  const double count = desirable.sum();
  const double others = static_cast<double>(desirable.size()) - count;
  if (count > 0 && others > 0) {
    Observe(metrics, "rewards/margins",
            (values.rewards * desirable).sum() / count -
                (values.rewards * (1 - desirable)).sum() / others);
  }
  if (needs.mismatched) {
    Observe(metrics, "kl", values.reference_point);
  } else if (needs.moments || needs.coupled) {
    Observe(metrics, "delta", values.reference_point);
  }
}

std::vector<SeededStep> Evaluate(const NamedUnpairedLoss& loss,
                                 losses::RunningMoments& moments,
                                 std::span<const UnpairedScores> all) {
  const losses::UnpairedInputs in = Concatenate(all);
  // The loop skips a step that is not finite; its moments must not stay.
  losses::RunningMoments dropped = moments;
  const bool finite = in.policy.allFinite() && in.reference.allFinite();
  const losses::UnpairedResult values =
      loss.loss(in, finite ? moments : dropped);
  for (const Eigen::ArrayXd* field :
       {&values.loss, &values.d_policy, &values.rewards}) {
    ALIGN_CHECK(field->size() == in.policy.size())
        << "[UnpairedObjective] the loss gave " << field->size()
        << " values for " << in.policy.size() << " replies";
  }
  std::vector<SeededStep> shares;
  Eigen::Index first = 0;
  for (const UnpairedScores& part : all) {
    const Eigen::Index count = part.inputs.policy.size();
    SeededStep share{.step = part.step};
    share.step.loss_sum = values.loss.segment(first, count).sum();
    for (Eigen::Index i = first; i < first + count; ++i) {
      Observe(share.step.metrics,
              std::string("rewards/") + KindOf(in.desirable[i]),
              values.rewards[i]);
    }
    for (const int32_t row : part.rows) {
      share.seed.push_back(static_cast<float>(values.d_policy[first + row]));
    }
    share.seed.resize(part.outputs, 0.0f);
    shares.push_back(std::move(share));
    first += count;
  }
  AddWholeMetrics(in, loss.needs, values, shares.front().step.metrics);
  return shares;
}

}  // namespace

absl::StatusOr<NamedUnpairedLoss> MakeUnpairedLoss(
    const std::string& name, const losses::OptionValues& values) {
  losses::UnpairedLossOrError made = losses::MakeUnpairedLoss(name, values);
  if (!made.ok()) return InvalidArgument(made.error);
  return NamedUnpairedLoss{std::move(made.loss), made.needs, made.beta,
                           made.coupling};
}

CoupledObjective<UnpairedBatch, UnpairedScores> UnpairedObjective(
    const Model& model, ReferenceLogProbs reference, NamedUnpairedLoss loss,
    const UnpairedOptions& options) {
  ALIGN_CHECK(reference || !loss.needs.reference)
      << "[UnpairedObjective] the loss needs a reference";
  const bool whole_step =
      loss.needs.coupled && loss.coupling == losses::Coupling::kGlobal;
  const auto own = std::make_shared<losses::RunningMoments>();
  return {.forward =
              [&model, reference = std::move(reference), needs = loss.needs,
               options](const UnpairedBatch& batch) {
                return Forward(model, reference, needs, options, batch);
              },
          .evaluate = [loss = std::move(loss), own, kept = options.moments](
                          std::span<const UnpairedScores> all)
              -> absl::StatusOr<std::vector<SeededStep>> {
            return Evaluate(loss, kept != nullptr ? *kept : *own, all);
          },
          .whole_step = whole_step};
}

}  // namespace align::train
