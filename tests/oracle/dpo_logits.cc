// golden/dpo/dpo_compute_loss_*: from logits to the loss, its metrics and the
// gradient by logits, in double and through the fused f32 operation.

#include <algorithm>
#include <cmath>

#include "losses/registry.h"
#include "tests/oracle/completions.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/trl_pair_loss.h"

namespace align::oracle {
namespace {

// TRL 1.x takes exo_pair's logarithms of a float32 smoothing: each is off by up
// to 6e-8 of itself, and log(1e-3) is -6.9.
constexpr Tolerance kFloatSmoothing = {.absolute = 1e-6, .relative = 1e-6};
// Scores that are exponentials turn an error of a log-ratio in f32, up to 1e-5
// for replies of some tokens, into a relative one; squares double it.
constexpr Tolerance kFloatExponential = {.absolute = 1e-5, .relative = 5e-5};

Tolerance ToleranceOf(Json one, bool fused) {
  const Json params = one["params"];
  if (fused || TextOr(one, "dtype", "float64") == "float32") {
    const std::string type = TextOr(params, "f_divergence_type", "reverse_kl");
    return type == "forward_kl" || type == "alpha_divergence"
               ? kFloatExponential
               : kFloat;
  }
  for (Json name : Items(params["loss_types"])) {
    if (Text(name) == "exo_pair") return kFloatSmoothing;
  }
  return kDouble;
}

// Entries of a row of the gradient are a seed times differences of
// probabilities: what they are off by goes with the largest.
Tolerance OfLargest(const std::vector<double>& values, Tolerance tolerance) {
  double largest = 1;
  for (double value : values) largest = std::max(largest, std::abs(value));
  return {.absolute = tolerance.absolute * largest,
          .relative = tolerance.relative};
}

// A batch of B pairs: sequences 0 .. B are chosen, B .. 2 B rejected.
struct PairBatch {
  Completions completions;
  RowScores scores;
  losses::PairInputs inputs;
  // [N] whether a token is within the first min(T_chosen, T_rejected).
  std::vector<bool> in_head;

  size_t pairs() const { return completions.sequences / 2; }
  size_t PairOf(size_t token) const {
    return completions.sequence[token] % pairs();
  }
  bool IsChosen(size_t token) const {
    return completions.sequence[token] < pairs();
  }
};

PairBatch BatchOf(Json set, bool fused) {
  PairBatch out;
  const Completions& completions = out.completions =
      CompletionsOf(set["logits"], set["input_ids"], set["completion_mask"]);
  const RowScores& scores = out.scores = Score(completions, fused);
  const auto pairs = static_cast<Eigen::Index>(out.pairs());
  const Eigen::ArrayXd counts = TokenCounts(completions);
  const Eigen::ArrayXd shorter = counts.head(pairs).min(counts.tail(pairs));
  std::vector<double> heads = scores.log_probs, weights = scores.log_probs;
  for (size_t k = 0; k < heads.size(); ++k) {
    const double index = static_cast<double>(completions.index[k]);
    out.in_head.push_back(index < shorter[out.PairOf(k)]);
    if (!out.in_head[k]) heads[k] = 0;
    weights[k] -= scores.log_sum_squares[k];
  }
  const Eigen::ArrayXd sums = SumBySequence(completions, scores.log_probs);
  const Eigen::ArrayXd head_sums = SumBySequence(completions, heads);
  const Eigen::ArrayXd means =
      SumBySequence(completions, weights) / counts.max(1.0);
  out.inputs = {.policy_chosen = sums.head(pairs),
                .policy_rejected = sums.tail(pairs),
                .reference_chosen = Array(set["ref_chosen_logps"]),
                .reference_rejected = Array(set["ref_rejected_logps"]),
                .chosen_tokens = counts.head(pairs),
                .rejected_tokens = counts.tail(pairs),
                .policy_chosen_head = head_sums.head(pairs),
                .policy_rejected_head = head_sums.tail(pairs),
                .chosen_log_weight = means.head(pairs),
                .rejected_log_weight = means.tail(pairs)};
  return out;
}

losses::PairInputs OnlyPair(const losses::PairInputs& all, Eigen::Index i) {
  losses::PairInputs one;
  for (Eigen::ArrayXd losses::PairInputs::*field : losses::kPairFields) {
    if ((all.*field).size() > 0) one.*field = (all.*field).segment(i, 1);
  }
  return one;
}

// d (mean loss) / d (log-prob), one a token.
std::vector<double> Seeds(const PairBatch& batch,
                          const losses::PairLossResult& loss) {
  std::vector<double> seeds;
  for (size_t k = 0; k < batch.in_head.size(); ++k) {
    const auto pair = static_cast<Eigen::Index>(batch.PairOf(k));
    const bool chosen = batch.IsChosen(k);
    const Eigen::ArrayXd& head =
        chosen ? loss.d_policy_chosen_head : loss.d_policy_rejected_head;
    double seed =
        (chosen ? loss.d_policy_chosen : loss.d_policy_rejected)[pair];
    if (batch.in_head[k] && head.size() > 0) seed += head[pair];
    seeds.push_back(seed / static_cast<double>(batch.pairs()));
  }
  return seeds;
}

absl::StatusOr<losses::PairLossOrError> LossOf(Json params) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<losses::PairLossTerm> terms,
                         TermsFromTrl(params, TrlVersion::kFrom1));
  losses::PairLossOrError loss = losses::MixPairLosses(terms);
  if (!loss.ok()) return InvalidArgument(loss.error);
  return loss;
}

// What TRL reports of pairs: means over them. `inputs` are those that gave
// `got`; ld_alpha weights the log-probs that it reports.
void CheckPairMetrics(Json wanted, const losses::PairInputs& inputs,
                      const losses::PairLossResult& got, double ld_alpha,
                      Tolerance tolerance, Case& result) {
  const losses::PairInputs reported = losses::DesensitizeLengths(
      inputs, {.ld_alpha = ld_alpha, .ld_reference = false});
  result.Near("logps/chosen", reported.policy_chosen.mean(),
              Number(wanted["logps/chosen"]), tolerance);
  result.Near("logps/rejected", reported.policy_rejected.mean(),
              Number(wanted["logps/rejected"]), tolerance);
  result.Near("rewards/chosen", got.chosen_rewards.mean(),
              Number(wanted["rewards/chosen"]), tolerance);
  result.Near("rewards/rejected", got.rejected_rewards.mean(),
              Number(wanted["rewards/rejected"]), tolerance);
  result.Near("rewards/margins",
              (got.chosen_rewards - got.rejected_rewards).mean(),
              Number(wanted["rewards/margins"]), tolerance);
  // A mean of float32 ones and zeros there.
  result.Near("rewards/accuracies",
              (got.chosen_rewards > got.rejected_rewards).cast<double>().mean(),
              Number(wanted["rewards/accuracies"]), kFloat);
}

void CheckTokenMetrics(Json wanted, const PairBatch& batch, Tolerance tolerance,
                       Case& result) {
  const RowScores& scores = batch.scores;
  const size_t pairs = batch.pairs();
  const auto mean = [&](const std::vector<double>& values, size_t begin,
                        size_t end) {
    return MeanOverTokens(batch.completions, values, begin, end);
  };
  result.Near("entropy", mean(scores.entropies, 0, 2 * pairs),
              Number(wanted["entropy"]), tolerance);
  result.Near("mean_token_accuracy", mean(scores.label_is_argmax, 0, pairs),
              Number(wanted["mean_token_accuracy"]), kFloat);
  result.Near("logits/chosen", mean(scores.mean_logits, 0, pairs),
              Number(wanted["logits/chosen"]), tolerance);
  result.Near("logits/rejected", mean(scores.mean_logits, pairs, 2 * pairs),
              Number(wanted["logits/rejected"]), tolerance);
}

absl::Status CheckFromLogits(Json set, Json one, bool fused, Case& result) {
  const Json params = one["params"], outputs = one["outputs"];
  const Tolerance tolerance = ToleranceOf(one, fused);
  const double ld_alpha = NumberOr(params, "ld_alpha", 1);
  ALIGN_ASSIGN_OR_RETURN(const losses::PairLossOrError loss, LossOf(params));
  const PairBatch batch = BatchOf(set, fused);
  const losses::PairLossResult got = loss.loss(batch.inputs);
  result.Near("loss", got.loss.mean(), Number(outputs["loss"]), tolerance);
  CheckPairMetrics(outputs["metrics"], batch.inputs, got, ld_alpha, tolerance,
                   result);
  CheckTokenMetrics(outputs["metrics"], batch, tolerance, result);
  const std::vector<double> gradient = Numbers(outputs["grad_loss_wrt_logits"]);
  result.Near("gradient by logits",
              GradientByLogits(batch.completions, Seeds(batch, got), fused),
              gradient, OfLargest(gradient, tolerance));
  // Each pair as a batch of its own; losses that need more have none.
  const auto each = Find(outputs, "per_pair");
  if (!each) return absl::OkStatus();
  const std::vector<Json> wanted = Items(*each);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const losses::PairInputs inputs =
        OnlyPair(batch.inputs, static_cast<Eigen::Index>(i));
    const losses::PairLossResult alone = loss.loss(inputs);
    result.Near("loss of pair " + std::to_string(i), alone.loss[0],
                Number(wanted[i]["loss"]), tolerance);
    CheckPairMetrics(wanted[i], inputs, alone, ld_alpha, tolerance, result);
  }
  return absl::OkStatus();
}

}  // namespace

void CheckDpoFromLogits(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const Json set =
        file.root["meta"]["input_sets"].at_key(Text(one["input_set"]));
    for (bool fused : {false, true}) {
      reporter.Run(fused ? "f32 fused" : "double", Text(one["name"]),
                   [&](Case& result) {
                     return CheckFromLogits(set, one, fused, result);
                   });
    }
  }
}

}  // namespace align::oracle
