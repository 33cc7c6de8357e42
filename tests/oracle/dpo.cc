// golden/dpo and the second sources: losses on pairs by their registry.

#include <algorithm>
#include <cmath>

#include "losses/registry.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/token_logps.h"

namespace align::oracle {
namespace {

losses::PairInputs PairsOf(Json inputs) {
  losses::PairInputs pairs;
  pairs.policy_chosen = Array(inputs["policy_chosen_logps"]);
  pairs.policy_rejected = Array(inputs["policy_rejected_logps"]);
  pairs.reference_chosen = Array(inputs["ref_chosen_logps"]);
  pairs.reference_rejected = Array(inputs["ref_rejected_logps"]);
  return pairs;
}

bool IsCovered(const std::string& loss) {
  return loss == "sigmoid" || loss == "hinge" || loss == "ipo";
}

// The product's loss; an error here is a failure, not a skip.
absl::StatusOr<losses::PairLoss> MakeLoss(const std::string& name,
                                          losses::OptionValues values) {
  losses::PairLossOrError made = losses::MakePairLoss(name, values);
  if (!made.ok()) return InvalidArgument(made.error);
  return std::move(made.loss);
}

// Compares what `outputs` has of losses, their mean, rewards and gradients.
void CheckResult(Json outputs, const losses::PairLossResult& got,
                 Case& result) {
  const auto count = static_cast<double>(got.loss.size());
  if (const auto wanted = Find(outputs, "losses")) {
    result.Near("losses", got.loss, Numbers(*wanted), kDouble);
  }
  result.Near("mean loss", got.loss.mean(), Number(outputs["mean_loss"]),
              kDouble);
  result.Near("chosen rewards", got.chosen_rewards,
              Numbers(outputs["chosen_rewards"]), kDouble);
  result.Near("rejected rewards", got.rejected_rewards,
              Numbers(outputs["rejected_rewards"]), kDouble);
  const Json gradients = outputs["grad_mean_loss"];
  result.Near("gradient by chosen", got.d_policy_chosen / count,
              Numbers(gradients["policy_chosen_logps"]), kDouble);
  result.Near("gradient by rejected", got.d_policy_rejected / count,
              Numbers(gradients["policy_rejected_logps"]), kDouble);
}

// Options that TRL's dpo_loss and ours share. IPO is given sums there.
losses::OptionValues OptionsOf(const std::string& name, Json params) {
  losses::OptionValues values = {{"beta", ExactText(Number(params["beta"]))}};
  const double smoothing = NumberOr(params, "label_smoothing", 0);
  if (name == "sigmoid") {
    values.push_back({"label_smoothing", ExactText(smoothing)});
  }
  if (name == "ipo") values.push_back({"reduction", "sum"});
  if (FlagOr(params, "reference_free", false)) {
    values.push_back({"reference_free", "true"});
  }
  return values;
}

// Why the options of a case are not covered; empty if they are.
std::string Unsupported(Json params) {
  const std::string divergence =
      TextOr(params, "f_divergence_type", "reverse_kl");
  if (divergence != "reverse_kl") return "divergence " + divergence;
  if (Find(params, "ld_alpha")) return "ld_alpha";
  if (FlagOr(params, "use_weighting", false)) return "use_weighting";
  return "";
}

// One of an input set of dpo_compute_loss: rows chosen, then rejected.
struct Completions {
  LabelledLogits rows;              // the scored positions
  std::vector<size_t> row_of;       // which input row each belongs to
  std::vector<size_t> position_of;  // and which of its positions
  size_t pairs = 0, length = 0;
};

Completions CompletionsOf(Json set) {
  Completions out;
  const Eigen::ArrayXXd logits = LogitRows(set["logits"]);
  const std::vector<Json> ids = Items(set["input_ids"]);
  const std::vector<Json> masks = Items(set["completion_mask"]);
  out.pairs = ids.size() / 2;
  out.length = Items(ids[0]).size();
  std::vector<Eigen::Index> kept;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::vector<int32_t> tokens = Ints(ids[i]), mask = Ints(masks[i]);
    for (size_t t = 0; t + 1 < tokens.size(); ++t) {
      if (mask[t + 1] == 0) continue;
      kept.push_back(static_cast<Eigen::Index>(i * out.length + t));
      out.rows.labels.push_back(tokens[t + 1]);
      out.row_of.push_back(i);
      out.position_of.push_back(t);
    }
  }
  out.rows.logits = logits(kept, Eigen::all);
  return out;
}

losses::PairInputs PairsOf(Json set, const Completions& completions,
                           const RowScores& scores) {
  const auto pairs = static_cast<Eigen::Index>(completions.pairs);
  Eigen::ArrayXd sums = Eigen::ArrayXd::Zero(2 * pairs);
  Eigen::ArrayXd counts = Eigen::ArrayXd::Zero(2 * pairs);
  for (size_t k = 0; k < completions.row_of.size(); ++k) {
    sums[completions.row_of[k]] += scores.log_probs[k];
    counts[completions.row_of[k]] += 1;
  }
  return {sums.head(pairs),
          sums.tail(pairs),
          Array(set["ref_chosen_logps"]),
          Array(set["ref_rejected_logps"]),
          counts.head(pairs),
          counts.tail(pairs)};
}

// The gradient of the mean loss by all logits, zero where nothing is scored.
std::vector<double> ByLogits(const Completions& completions,
                             const losses::PairLossResult& loss, bool fused) {
  std::vector<double> seeds;
  for (size_t row : completions.row_of) {
    const bool chosen = row < completions.pairs;
    const double seed = chosen
                            ? loss.d_policy_chosen[row]
                            : loss.d_policy_rejected[row - completions.pairs];
    seeds.push_back(seed / static_cast<double>(completions.pairs));
  }
  const std::vector<double> none(seeds.size(), 0.0);
  const std::vector<double> scored =
      fused ? GradientFused(completions.rows, seeds, none)
            : GradientInDouble(completions.rows, seeds, none);
  const auto vocab = static_cast<size_t>(completions.rows.logits.cols());
  std::vector<double> all(2 * completions.pairs * completions.length * vocab);
  for (size_t k = 0; k < completions.row_of.size(); ++k) {
    const size_t to =
        completions.row_of[k] * completions.length + completions.position_of[k];
    std::copy_n(scored.begin() + k * vocab, vocab, all.begin() + to * vocab);
  }
  return all;
}

absl::Status CheckFromLogits(Json set, Json one, bool fused, Case& result) {
  const Json params = one["params"];
  const std::string name = Text(params["loss_types"].at(0));
  const Tolerance tolerance = fused ? kFloat : kDouble;
  const Completions completions = CompletionsOf(set);
  // Means over tokens (IPO) and no smoothing, as this version has it.
  ALIGN_ASSIGN_OR_RETURN(
      const losses::PairLoss loss,
      MakeLoss(name, {{"beta", ExactText(Number(params["beta"]))}}));
  const losses::PairInputs pairs = PairsOf(
      set, completions,
      fused ? ScoreFused(completions.rows) : ScoreInDouble(completions.rows));
  const losses::PairLossResult got = loss(pairs);
  const Json outputs = one["outputs"];
  result.Near("loss", got.loss.mean(), Number(outputs["loss"]), tolerance);
  const Json metrics = outputs["metrics"];
  result.Near("rewards/chosen", got.chosen_rewards.mean(),
              Number(metrics["rewards/chosen"]), tolerance);
  result.Near("rewards/rejected", got.rejected_rewards.mean(),
              Number(metrics["rewards/rejected"]), tolerance);
  result.Near("logps/chosen", pairs.policy_chosen.mean(),
              Number(metrics["logps/chosen"]), tolerance);
  const std::vector<Json> each = Items(outputs["per_pair"]);
  for (size_t i = 0; i < each.size(); ++i) {
    result.Near("loss of pair " + std::to_string(i), got.loss[i],
                Number(each[i]["loss"]), tolerance);
    result.Near("margin of pair " + std::to_string(i),
                got.chosen_rewards[i] - got.rejected_rewards[i],
                Number(each[i]["rewards/margins"]), tolerance);
  }
  result.Near("gradient by logits", ByLogits(completions, got, fused),
              Numbers(outputs["grad_loss_wrt_logits"]), tolerance);
  return absl::OkStatus();
}

}  // namespace

void CheckDpoLoss(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string name = Text(one["loss_type"]);
    const Json params = one["params"];
    if (!IsCovered(name)) {
      reporter.Skip("loss " + name);
      continue;
    }
    const std::string unsupported = Unsupported(params);
    if (!unsupported.empty()) {
      reporter.Skip(unsupported);
      continue;
    }
    reporter.Run(
        "double", Text(one["name"]), [&](Case& result) -> absl::Status {
          ALIGN_ASSIGN_OR_RETURN(const losses::PairLoss loss,
                                 MakeLoss(name, OptionsOf(name, params)));
          CheckResult(one["outputs"], loss(PairsOf(one["inputs"])), result);
          return absl::OkStatus();
        });
  }
}

void CheckDpoFromLogits(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const Json params = one["params"];
    const std::vector<Json> names = Items(params["loss_types"]);
    if (names.size() != 1) {
      reporter.Skip("mixes of losses");
      continue;
    }
    std::string reason = Unsupported(params);
    if (!IsCovered(Text(names[0]))) reason = "loss " + Text(names[0]);
    if (!reason.empty()) {
      reporter.Skip(reason);
      continue;
    }
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

void CheckDpoSecondSources(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string source = Text(one["fn"]);
    const Json params = one["params"];
    reporter.Run("double", source, [&](Case& result) -> absl::Status {
      std::string name = FlagOr(params, "ipo", false) ? "ipo" : "sigmoid";
      losses::OptionValues values;
      if (source == "torchtune RSOLoss") {
        name = "hinge";
        values = {{"beta", ExactText(Number(params["gamma"]))}};
      } else if (source == "eric-mitchell preference_loss" ||
                 source == "OpenRLHF DPOLoss" ||
                 source == "torchtune DPOLoss") {
        values = OptionsOf(name, params);
      } else {
        return Unimplemented("source " + source);
      }
      ALIGN_ASSIGN_OR_RETURN(const losses::PairLoss loss,
                             MakeLoss(name, values));
      CheckResult(one["outputs"], loss(PairsOf(one["inputs"])), result);
      return absl::OkStatus();
    });
  }
}

}  // namespace align::oracle
