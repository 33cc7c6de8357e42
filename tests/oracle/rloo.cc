// golden/rloo: leave-one-out advantages and the loss on whole replies, by their
// registries.

#include "losses/advantage_registry.h"
#include "losses/kl.h"
#include "losses/policy_registry.h"
#include "losses/sequence_rewards.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/policy_rows.h"

namespace align::oracle {
namespace {

// TRL 1.x takes Bessel's n / (n - 1) in float32.
constexpr Tolerance kFloatBessel = {.absolute = 1e-7, .relative = 1e-7};

Eigen::ArrayXd SumsOfRows(const std::vector<Eigen::Index>& offsets,
                          const Eigen::ArrayXd& values) {
  const auto rows = static_cast<Eigen::Index>(offsets.size()) - 1;
  Eigen::ArrayXd sums(rows);
  for (Eigen::Index i = 0; i < rows; ++i) {
    sums[i] = values.segment(offsets[i], offsets[i + 1] - offsets[i]).sum();
  }
  return sums;
}

absl::StatusOr<Eigen::ArrayXd> Advantages(const losses::AdvantageInputs& in,
                                          bool normalize) {
  const losses::AdvantageEstimatorOrError rloo = losses::MakeAdvantageEstimator(
      "rloo", {{"normalize_advantages", normalize ? "true" : "false"}});
  if (!rloo.ok()) return InvalidArgument(rloo.error);
  return rloo.estimator(in).advantages;
}

absl::StatusOr<losses::PolicyResult> Loss(const losses::PolicyInputs& in,
                                          double low, double high) {
  const losses::PolicyLossOrError rloo = losses::MakePolicyLoss(
      "rloo", {{"epsilon", ExactText(low)}, {"epsilon_high", ExactText(high)}});
  if (!rloo.ok()) return InvalidArgument(rloo.error);
  return rloo.loss(in);
}

// TRL 1.x: the KL is taken off clipped rewards.
absl::Status CheckTrainer(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"];
  losses::AdvantageInputs rewards = AdvantageRows(inputs["completion_mask"]);
  losses::PolicyInputs in = PolicyRows(inputs["completion_mask"]);
  in.log_prob = Array(inputs["per_token_logps"]);
  in.old_log_prob = Array(inputs["old_per_token_logps"]);
  rewards.rewards = Array(inputs["rewards"]);
  if (const auto range = Find(params, "reward_clip_range")) {
    const std::vector<double> ends = Numbers(*range);
    rewards.rewards = rewards.rewards.max(ends.at(0)).min(ends.at(1));
  }
  rewards.token_rewards =
      -Number(params["beta"]) *
      losses::EstimateKl(losses::KlEstimator::kK1, in.old_log_prob,
                         Array(inputs["ref_per_token_logps"]));
  const auto size = static_cast<int64_t>(Number(params["num_generations"]));
  for (int64_t i = 0; i < rewards.sequences(); ++i) {
    rewards.groups.push_back(i / size);
  }
  result.Near("rewards", losses::SequenceRewards(rewards),
              Numbers(outputs["rewards_after_kl_and_clip"]), kDouble);
  const bool normalize = FlagOr(params, "normalize_advantages", false);
  const Tolerance tolerance = normalize ? kFloatBessel : kDouble;
  ALIGN_ASSIGN_OR_RETURN(in.advantages, Advantages(rewards, normalize));
  result.Near("advantages", in.advantages, Numbers(outputs["advantages"]),
              tolerance);
  ALIGN_ASSIGN_OR_RETURN(
      const losses::PolicyResult got,
      Loss(in, Number(params["epsilon_low"]), Number(params["epsilon_high"])));
  CheckLossAndGradient(got, got.weight, outputs["loss"],
                       outputs["grad_per_token_logps"], tolerance, result);
  // Of a reply, spread over its tokens here.
  result.Near("loss of replies", SumsOfRows(in.offsets, got.loss),
              Numbers(outputs["per_sequence_loss"]), tolerance);
  return absl::OkStatus();
}

// TRL 0.11: sample k of prompt p is row k * prompts + p.
absl::Status CheckOnlineTrainer(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"];
  const Eigen::ArrayXd mask = 1.0 - Array(outputs["padding_mask"]);
  const auto rows = static_cast<Eigen::Index>(Items(inputs["scores"]).size());
  losses::PolicyInputs in;
  in.offsets = RowOffsets(rows, mask.size() / rows);
  in.mask = mask;
  in.log_prob = Array(inputs["new_logprobs"]);
  in.old_log_prob = Array(inputs["logprobs"]);
  losses::AdvantageInputs rewards;
  rewards.offsets = in.offsets;
  rewards.mask = mask;
  rewards.rewards = Array(inputs["scores"]);
  rewards.token_rewards =
      -Number(params["kl_coef"]) *
      losses::EstimateKl(losses::KlEstimator::kK1, in.old_log_prob,
                         Array(inputs["ref_logprobs"]));
  const int64_t prompts = rows / static_cast<int64_t>(Number(params["rloo_k"]));
  for (int64_t i = 0; i < rows; ++i) rewards.groups.push_back(i % prompts);
  const Eigen::ArrayXd totals = losses::SequenceRewards(rewards);
  result.Near("KL rewards", Eigen::ArrayXd(totals - rewards.rewards),
              Numbers(outputs["non_score_reward"]), kDouble);
  ALIGN_ASSIGN_OR_RETURN(in.advantages, Advantages(rewards, false));
  result.Near("advantages", in.advantages, Numbers(outputs["advantages"]),
              kDouble);
  result.Near("baselines", Eigen::ArrayXd(totals - in.advantages),
              Numbers(outputs["baseline"]), kDouble);
  const double clip = Number(params["cliprange"]);
  ALIGN_ASSIGN_OR_RETURN(const losses::PolicyResult got, Loss(in, clip, clip));
  CheckLossAndGradient(got, got.weight, outputs["pg_loss"],
                       outputs["grad_new_logprobs"], kDouble, result);
  return absl::OkStatus();
}

}  // namespace

void CheckRloo(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const bool online = Find(one["params"], "rloo_k").has_value();
    reporter.Run("double", TextOr(one, "name", "rloo"), [&](Case& result) {
      return online ? CheckOnlineTrainer(one, result)
                    : CheckTrainer(one, result);
    });
  }
}

}  // namespace align::oracle
