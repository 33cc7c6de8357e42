// golden/kto and golden/bco: losses on single labelled replies, by their
// registry.

#include <cmath>

#include "losses/unpaired_registry.h"
#include "tests/oracle/completions.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

// TRL's running moments are float32: of means near 1, the rounding of which
// losses differ by at most.
constexpr Tolerance kFloatMoments = {.absolute = 1e-7, .relative = 1e-6};

// All chosen replies, then all rejected ones.
losses::UnpairedInputs RepliesOf(Json inputs) {
  const Eigen::ArrayXd chosen = Array(inputs["policy_chosen_logps"]);
  const Eigen::ArrayXd rejected = Array(inputs["policy_rejected_logps"]);
  const Eigen::Index batch = chosen.size() + rejected.size();
  losses::UnpairedInputs out;
  out.policy.resize(batch);
  out.policy << chosen, rejected;
  out.reference.resize(batch);
  out.reference << Array(inputs["ref_chosen_logps"]),
      Array(inputs["ref_rejected_logps"]);
  out.desirable.resize(batch);
  for (Eigen::Index i = 0; i < batch; ++i) out.desirable[i] = i < chosen.size();
  return out;
}

// Chosen and rejected results, and the mean that TRL takes over what is there.
void CheckReplies(Json outputs, Eigen::Index chosen,
                  const losses::UnpairedResult& got, Tolerance tolerance,
                  Case& result) {
  const Eigen::Index rejected = got.loss.size() - chosen;
  const auto count = static_cast<double>(got.loss.size());
  result.Near("losses", got.loss, Numbers(outputs["losses"]), tolerance);
  result.Near("mean loss", got.loss.mean(), Number(outputs["mean_loss"]),
              tolerance);
  result.Near("chosen rewards", got.rewards.head(chosen),
              Numbers(outputs["chosen_rewards"]), kDouble);
  result.Near("rejected rewards", got.rewards.tail(rejected),
              Numbers(outputs["rejected_rewards"]), kDouble);
  const Json gradients = outputs["grad_mean_loss"];
  result.Near("gradient by chosen", got.d_policy.head(chosen) / count,
              Numbers(gradients["policy_chosen_logps"]), tolerance);
  result.Near("gradient by rejected", got.d_policy.tail(rejected) / count,
              Numbers(gradients["policy_rejected_logps"]), tolerance);
}

// TRL's KTOTrainer by its loss_type.
losses::UnpairedLossOrError KtoFromTrl(Json params) {
  const std::string name = Text(params["loss_type"]);
  losses::OptionValues values = {
      {"beta", ExactText(Number(params["beta"]))},
      {"desirable_weight", ExactText(NumberOr(params, "desirable_weight", 1))},
      {"undesirable_weight",
       ExactText(NumberOr(params, "undesirable_weight", 1))}};
  if (name == "kto" && !FlagOr(params, "calculate_KL", true)) {
    values.emplace_back("kl", "given");
  }
  return losses::MakeUnpairedLoss(name, values);
}

absl::Status CheckKtoOnLogProbs(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const losses::UnpairedLossOrError loss = KtoFromTrl(one["params"]);
  if (!loss.ok()) return InvalidArgument(loss.error);
  losses::UnpairedInputs replies = RepliesOf(inputs);
  replies.mismatched_policy = Array(inputs["policy_KL_logps"]);
  replies.mismatched_reference = Array(inputs["ref_KL_logps"]);
  losses::RunningMoments moments;
  const losses::UnpairedResult got = loss.loss(replies, moments);
  CheckReplies(outputs, replies.desirable.count(), got, kDouble, result);
  if (Text(one["params"]["loss_type"]) == "kto") {
    result.Near("kl", got.reference_point, Numbers(outputs["kl"]).at(0),
                kDouble);
  }
  return absl::OkStatus();
}

// The mean of `values` over the rows with this label.
double MeanWhere(const losses::Labels& labels, bool label,
                 const Eigen::ArrayXd& values) {
  return losses::MaskedMean(values, (labels == label).cast<double>());
}

void CheckKtoMetrics(Json wanted, const losses::UnpairedInputs& replies,
                     const losses::UnpairedResult& got, bool has_kl,
                     Tolerance tolerance, Case& result) {
  for (const auto& [label, name] :
       {std::pair(true, "chosen"), std::pair(false, "rejected")}) {
    const std::string suffix = std::string("/") + name;
    const auto rewards = Find(wanted, "rewards" + suffix);
    if (!rewards) continue;  // none of this class
    result.Near("rewards" + suffix,
                MeanWhere(replies.desirable, label, got.rewards),
                Number(*rewards), tolerance);
    result.Near("logps" + suffix,
                MeanWhere(replies.desirable, label, replies.policy),
                Number(wanted["logps" + suffix]), tolerance);
  }
  if (const auto margins = Find(wanted, "rewards/margins")) {
    result.Near("rewards/margins",
                MeanWhere(replies.desirable, true, got.rewards) -
                    MeanWhere(replies.desirable, false, got.rewards),
                Number(*margins), tolerance);
  }
  if (has_kl) {
    result.Near("kl", got.reference_point, Number(wanted["kl"]), tolerance);
  }
}

Eigen::ArrayXd Sums(Json logits, Json ids, Json mask, bool fused) {
  const Completions completions = CompletionsOf(logits, ids, mask);
  return SumBySequence(completions, Score(completions, fused).log_probs);
}

absl::Status CheckKtoFromLogits(Json one, bool fused, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const Tolerance tolerance = fused ? kFloat : kDouble;
  const losses::UnpairedLossOrError loss = KtoFromTrl(one["params"]);
  if (!loss.ok()) return InvalidArgument(loss.error);
  const Json ids = inputs["input_ids"], mask = inputs["completion_mask"];
  const Completions completions = CompletionsOf(inputs["logits"], ids, mask);
  const RowScores scores = Score(completions, fused);
  losses::UnpairedInputs replies;
  replies.policy = SumBySequence(completions, scores.log_probs);
  replies.reference = Sums(inputs["ref_logits"], ids, mask, fused);
  replies.desirable = Array(inputs["label"]) != 0.0;
  if (loss.needs.mismatched) {
    const Json kl_ids = inputs["KL_input_ids"];
    const Json kl_mask = inputs["KL_completion_mask"];
    replies.mismatched_policy =
        Sums(inputs["kl_logits"], kl_ids, kl_mask, fused);
    replies.mismatched_reference =
        Sums(inputs["ref_kl_logits"], kl_ids, kl_mask, fused);
  }
  losses::RunningMoments moments;
  const losses::UnpairedResult got = loss.loss(replies, moments);
  result.Near("loss", got.loss.mean(), Number(outputs["loss"]), tolerance);
  CheckKtoMetrics(outputs["metrics"], replies, got,
                  Text(one["params"]["loss_type"]) == "kto", tolerance, result);
  result.Near(
      "entropy",
      MeanOverTokens(completions, scores.entropies, 0, completions.sequences),
      Number(outputs["metrics"]["entropy"]), tolerance);
  std::vector<double> seeds;
  for (size_t row : completions.sequence) {
    seeds.push_back(got.d_policy[static_cast<Eigen::Index>(row)] /
                    static_cast<double>(completions.sequences));
  }
  result.Near("gradient by logits", GradientByLogits(completions, seeds, fused),
              Numbers(outputs["grad_loss_wrt_logits"]), tolerance);
  return absl::OkStatus();
}

// Batches one after the other: the running mean is state.
absl::Status CheckBcoSequence(Json one, Case& result) {
  const losses::UnpairedLossOrError loss = losses::MakeUnpairedLoss(
      "bco", {{"beta", ExactText(Number(one["params"]["beta"]))}});
  if (!loss.ok()) return InvalidArgument(loss.error);
  losses::RunningMoments moments;
  for (Json call : Items(one["sequence"])) {
    const losses::UnpairedInputs replies = RepliesOf(call["inputs"]);
    const Json outputs = call["outputs"];
    const losses::UnpairedResult got = loss.loss(replies, moments);
    CheckReplies(outputs, replies.desirable.count(), got, kFloatMoments,
                 result);
    result.Near("delta", got.reference_point, Number(outputs["delta"]),
                kFloatMoments);
    const Json running = outputs["running"];
    result.Near("running mean", moments.mean, Number(running["mean"]),
                kFloatMoments);
    result.Near("running std", moments.StandardDeviation(),
                Number(running["std"]), kFloatMoments);
    result.Near("running variance", moments.variance, Number(running["var"]),
                kFloatMoments);
    result.Near("running count", moments.count, Number(running["count"]),
                kFloatMoments);
  }
  return absl::OkStatus();
}

}  // namespace

void CheckKtoLoss(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", TextOr(one, "name", "kto_loss"),
                 [&](Case& result) { return CheckKtoOnLogProbs(one, result); });
  }
}

void CheckKtoFromLogits(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    for (bool fused : {false, true}) {
      reporter.Run(
          fused ? "f32 fused" : "double",
          TextOr(one, "name", Text(one["params"]["loss_type"])),
          [&](Case& result) { return CheckKtoFromLogits(one, fused, result); });
    }
  }
}

void CheckBcoLoss(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", TextOr(one, "name", "bco_loss"),
                 [&](Case& result) { return CheckBcoSequence(one, result); });
  }
}

}  // namespace align::oracle
