// golden/dpo/dpo_loss_* and the second sources: losses on pairs of log-probs,
// by their registry.

#include <cmath>

#include "losses/registry.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/trl_pair_loss.h"

namespace align::oracle {
namespace {

// TRL's running mean is a float32, which losses differ by at most.
constexpr Tolerance kFloatMean = {.absolute = 1e-7, .relative = 1e-6};

losses::PairInputs PairsOf(Json inputs) {
  losses::PairInputs pairs;
  pairs.policy_chosen = Array(inputs["policy_chosen_logps"]);
  pairs.policy_rejected = Array(inputs["policy_rejected_logps"]);
  pairs.reference_chosen = Array(inputs["ref_chosen_logps"]);
  pairs.reference_rejected = Array(inputs["ref_rejected_logps"]);
  // A mean that the caller took: one token of that NLL a pair has it too.
  if (const auto nll = Find(inputs, "nll_loss")) {
    const Eigen::ArrayXd ones =
        Eigen::ArrayXd::Ones(pairs.policy_chosen.size());
    pairs.chosen_nll = Number(*nll) * ones;
    pairs.chosen_nll_tokens = ones;
  }
  return pairs;
}

// Where the other software overflowed, ours has to be finite.
void NearOrFinite(const std::string& what, const Eigen::ArrayXd& got,
                  const std::vector<double>& wanted, Tolerance tolerance,
                  Case& result) {
  if (got.size() != static_cast<Eigen::Index>(wanted.size())) {
    return result.Near(what, got, wanted, tolerance);
  }
  for (Eigen::Index i = 0; i < got.size(); ++i) {
    const std::string name = what + "[" + std::to_string(i) + "]";
    if (std::isfinite(wanted[i])) {
      result.Near(name, got[i], wanted[i], tolerance);
    } else {
      result.True(name + " is finite", std::isfinite(got[i]));
    }
  }
}

// Losses one a pair; kto_pair's of TRL 0.7 are all chosen, then all rejected,
// and one of ours is the mean of both.
std::vector<double> LossesByPair(Json outputs, Eigen::Index pairs) {
  std::vector<double> values = Numbers(outputs["losses"]);
  const auto count = static_cast<size_t>(pairs);
  if (values.size() != 2 * count) return values;
  for (size_t i = 0; i < count; ++i) {
    values[i] = (values[i] + values[count + i]) / 2;
  }
  values.resize(count);
  return values;
}

// Compares what `outputs` has of losses, their mean, rewards and gradients.
void CheckResult(Json outputs, const losses::PairLossResult& got,
                 Tolerance tolerance, Case& result) {
  const auto count = static_cast<double>(got.loss.size());
  if (Find(outputs, "losses")) {
    NearOrFinite("losses", got.loss, LossesByPair(outputs, got.loss.size()),
                 tolerance, result);
  }
  NearOrFinite("mean loss", Eigen::ArrayXd::Constant(1, got.loss.mean()),
               Numbers(outputs["mean_loss"]), tolerance, result);
  result.Near("chosen rewards", got.chosen_rewards,
              Numbers(outputs["chosen_rewards"]), kDouble);
  result.Near("rejected rewards", got.rejected_rewards,
              Numbers(outputs["rejected_rewards"]), kDouble);
  if (const auto accuracies = Find(outputs, "reward_accuracies")) {
    result.Near("accuracies",
                (got.chosen_rewards > got.rejected_rewards).cast<double>(),
                Numbers(*accuracies), {});
  }
  const Json gradients = outputs["grad_mean_loss"];
  NearOrFinite("gradient by chosen", got.d_policy_chosen / count,
               Numbers(gradients["policy_chosen_logps"]), tolerance, result);
  NearOrFinite("gradient by rejected", got.d_policy_rejected / count,
               Numbers(gradients["policy_rejected_logps"]), tolerance, result);
  if (const auto by_nll = Find(gradients, "nll_loss")) {
    result.Near("gradient by NLL", got.d_chosen_nll.sum() / count,
                Number(*by_nll), tolerance);
  }
}

// TRL's losses of the aot family stand in the order of ranks, ours by pair.
void OrderByRank(const std::string& loss, const losses::PairInputs& in,
                 losses::PairLossResult& got) {
  if (!loss.starts_with("aot")) return;
  const Eigen::ArrayXd sorted = loss == "aot"
                                    ? in.policy_chosen - in.policy_rejected
                                    : losses::LogRatios(in).chosen;
  got.loss = Eigen::ArrayXd(got.loss(losses::Ranks(sorted)));
}

// One call of a loss, or the calls of a sequence one after the other.
absl::Status CheckCalls(Json one, Case& result) {
  const losses::PairLossTerm term =
      FromTrl(Text(one["loss_type"]), one["params"], TrlVersion::kUpTo024);
  const losses::PairLossOrError loss =
      losses::MakePairLoss(term.name, term.values);
  if (!loss.ok()) return InvalidArgument(loss.error);
  const Tolerance tolerance = loss.needs.running_mean ? kFloatMean : kDouble;
  const auto sequence = Find(one, "sequence");
  losses::RunningMoments moments;
  for (Json call : sequence ? Items(*sequence) : std::vector<Json>{one}) {
    losses::PairInputs pairs = PairsOf(call["inputs"]);
    if (loss.needs.running_mean) losses::TakeIntoRunningMean(moments, pairs);
    losses::PairLossResult got = loss.loss(pairs);
    OrderByRank(term.name, pairs, got);
    CheckResult(call["outputs"], got, tolerance, result);
    const auto running = Find(call["outputs"], "running_after");
    if (!running) continue;
    // Theirs is of rewards, ours of log-ratios.
    result.Near("running mean", loss.beta * moments.mean,
                Number((*running)["mean"]), kFloatMean);
    result.Near("running variance", loss.beta * loss.beta * moments.variance,
                Number((*running)["var"]), kFloatMean);
    result.Near("running count", moments.count, Number((*running)["count"]),
                kFloatMean);
  }
  return absl::OkStatus();
}

absl::Status CheckSecondSource(const std::string& source, Json one,
                               Case& result) {
  const Json params = one["params"];
  losses::PairLossTerm term;
  if (source == "torchtune RSOLoss") {
    term = {"rso_hinge_norm", {{"gamma", ExactText(Number(params["gamma"]))}}};
  } else if (source == "eric-mitchell preference_loss" ||
             source == "OpenRLHF DPOLoss" || source == "torchtune DPOLoss") {
    term = FromTrl(FlagOr(params, "ipo", false) ? "ipo" : "sigmoid", params,
                   TrlVersion::kUpTo024);
  } else {
    return InvalidArgument("no loss of ours for " + source);
  }
  const losses::PairLossOrError loss =
      losses::MakePairLoss(term.name, term.values);
  if (!loss.ok()) return InvalidArgument(loss.error);
  CheckResult(one["outputs"], loss.loss(PairsOf(one["inputs"])), kDouble,
              result);
  return absl::OkStatus();
}

}  // namespace

void CheckDpoLoss(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", TextOr(one, "name", Text(one["loss_type"])),
                 [&](Case& result) { return CheckCalls(one, result); });
  }
}

void CheckDpoSecondSources(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string source = Text(one["fn"]);
    reporter.Run("double", source, [&](Case& result) {
      return CheckSecondSource(source, one, result);
    });
  }
}

}  // namespace align::oracle
