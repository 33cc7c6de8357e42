// golden/orpo and golden/cpo: losses on pairs without a reference.

#include <cmath>

#include "losses/registry.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

// The files give log-probs as the loss reads them, averaged where it averages:
// replies of one token. The NLL is a mean that the caller took: one token of
// that NLL a pair has it too.
losses::PairInputs PairsOf(Json chosen, Json rejected, double nll) {
  losses::PairInputs out;
  out.policy_chosen = Array(chosen);
  out.policy_rejected = Array(rejected);
  const Eigen::ArrayXd ones = Eigen::ArrayXd::Ones(out.policy_chosen.size());
  out.chosen_tokens = out.rejected_tokens = out.chosen_nll_tokens = ones;
  out.chosen_nll = nll * ones;
  return out;
}

void CheckRewards(Json outputs, const losses::PairLossResult& got,
                  Tolerance tolerance, Case& result) {
  result.Near("chosen rewards", got.chosen_rewards,
              Numbers(outputs["chosen_rewards"]), tolerance);
  result.Near("rejected rewards", got.rejected_rewards,
              Numbers(outputs["rejected_rewards"]), tolerance);
  const Json metrics = outputs["metrics"];
  result.Near("rewards/chosen", got.chosen_rewards.mean(),
              Number(metrics["rewards/chosen"]), tolerance);
  result.Near("rewards/rejected", got.rejected_rewards.mean(),
              Number(metrics["rewards/rejected"]), tolerance);
  result.Near("rewards/margins",
              (got.chosen_rewards - got.rejected_rewards).mean(),
              Number(metrics["rewards/margins"]), tolerance);
  // A mean of float32 ones and zeros there.
  result.Near("rewards/accuracies",
              (got.chosen_rewards > got.rejected_rewards).cast<double>().mean(),
              Number(metrics["rewards/accuracies"]), kFloat);
}

void CheckFullLoss(Json outputs, const losses::PairLossResult& got,
                   const std::string& key_suffix, Tolerance tolerance,
                   Case& result) {
  const auto count = static_cast<double>(got.loss.size());
  result.Near("full loss", got.loss.mean(), Number(outputs["full_loss"]),
              tolerance);
  const Json gradients = outputs["grad_full_loss"];
  result.Near("gradient by chosen", got.d_policy_chosen / count,
              Numbers(gradients["policy_chosen" + key_suffix]), tolerance);
  result.Near("gradient by rejected", got.d_policy_rejected / count,
              Numbers(gradients["policy_rejected" + key_suffix]), tolerance);
  const double by_nll =
      got.d_chosen_nll.size() == 0 ? 0.0 : got.d_chosen_nll.sum() / count;
  result.Near("gradient by NLL", by_nll, NumberOr(gradients, "nll_loss", 0),
              tolerance);
}

absl::Status CheckOrpo(Json one, Tolerance tolerance, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const double beta = Number(one["params"]["beta"]);
  const losses::PairLossOrError loss =
      losses::MakePairLoss("orpo", {{"beta", ExactText(beta)}});
  if (!loss.ok()) return InvalidArgument(loss.error);
  const double nll = Number(inputs["nll_loss"]);
  losses::PairInputs pairs = PairsOf(inputs["policy_chosen_avg_logps"],
                                     inputs["policy_rejected_avg_logps"], nll);
  const losses::PairLossResult got = loss.loss(pairs);
  CheckFullLoss(outputs, got, "_avg_logps", tolerance, result);
  CheckRewards(outputs, got, tolerance, result);
  // Without the NLL the preference term is left, exactly.
  pairs.chosen_nll.setZero();
  const Eigen::ArrayXd preference = loss.loss(pairs).loss;
  result.Near("beta log sigmoid of log odds", -preference,
              Numbers(outputs["beta_times_log_sigmoid_log_odds"]), tolerance);
  result.Near("log_odds_ratio", got.metrics.at("log_odds_ratio").mean(),
              Number(outputs["mean_log_odds_ratio"]), tolerance);
  result.Near("log_odds_chosen", got.metrics.at("log_odds_chosen").mean(),
              Number(outputs["mean_log_odds_chosen"]), tolerance);
  return absl::OkStatus();
}

// TRL's CPOTrainer by its loss_type, with the NLL's weight.
absl::StatusOr<losses::PairLossTerm> CpoFromTrl(Json params, double cpo_alpha) {
  const std::string type = Text(params["loss_type"]);
  const double alpha = NumberOr(params, "alpha", 0);
  losses::PairLossTerm out = {
      "cpo",
      {{"beta", ExactText(Number(params["beta"]))},
       {"cpo_alpha", ExactText(cpo_alpha)},
       {"label_smoothing", ExactText(NumberOr(params, "label_smoothing", 0))}}};
  if (type == "simpo" || (type == "sigmoid" && alpha != 0)) {
    // AlphaPO's reward without a margin is simpo with gamma = 0.
    const double gamma =
        type == "simpo" ? NumberOr(params, "simpo_gamma", 0.5) : 0.0;
    out.name = alpha == 0 ? "simpo" : "alphapo";
    out.values.emplace_back("gamma", ExactText(gamma));
    out.values.emplace_back("alpha", ExactText(alpha));
  } else if (alpha == 0) {
    out.values.emplace_back("form", type);
  } else {
    return InvalidArgument("alpha with " + type + ": no loss of ours");
  }
  return out;
}

absl::Status CheckCpo(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const double nll = Number(inputs["nll_loss"]);
  const losses::PairInputs pairs = PairsOf(
      inputs["policy_chosen_logps"], inputs["policy_rejected_logps"], nll);
  const double cpo_alpha = NumberOr(one["params"], "cpo_alpha", 1);
  for (const double weight : {cpo_alpha, 0.0}) {
    ALIGN_ASSIGN_OR_RETURN(const losses::PairLossTerm term,
                           CpoFromTrl(one["params"], weight));
    const losses::PairLossOrError loss =
        losses::MakePairLoss(term.name, term.values);
    if (!loss.ok()) return InvalidArgument(loss.error);
    const losses::PairLossResult got = loss.loss(pairs);
    if (weight == cpo_alpha) {
      CheckFullLoss(outputs, got, "_logps", kDouble, result);
      CheckRewards(outputs, got, kDouble, result);
    }
    if (weight == 0) {
      result.Near("losses", got.loss, Numbers(outputs["losses"]), kDouble);
    }
  }
  return absl::OkStatus();
}

}  // namespace

void CheckOrpoLoss(const OracleFile& file, Reporter& reporter) {
  // Before 1.0, TRL took log1p(-exp(x)), which loses digits near 0.
  const bool stable = file.path.find("trl_main") != std::string::npos;
  const Tolerance tolerance =
      stable ? kDouble : Tolerance{.absolute = 1e-9, .relative = 1e-9};
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", TextOr(one, "name", "orpo"), [&](Case& result) {
      return CheckOrpo(one, tolerance, result);
    });
  }
}

void CheckCpoLoss(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", TextOr(one, "name", "cpo"),
                 [&](Case& result) { return CheckCpo(one, result); });
  }
}

}  // namespace align::oracle
