// golden/peers/openrlhf.json and torchtune_ppo.json: losses, advantages and KL
// estimators, by the registries where they have them.

#include "losses/advantage_registry.h"
#include "losses/policy_registry.h"
#include "losses/ppo.h"
#include "losses/reward.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/policy_rows.h"

namespace align::oracle {
namespace {

// Both add 1e-8 to the tokens that they divide by.
constexpr Tolerance kMasked = {.absolute = 1e-7, .relative = 1e-7};

absl::Status CheckOpenRlhfPolicy(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"];
  const bool by_sequence = Text(params["policy_loss_type"]) == "gspo";
  const bool by_token = FlagOr(params, "token_level_loss", true) &&
                        !by_sequence;  // gspo averages sequences anyway
  losses::OptionValues values = {
      {"epsilon", ExactText(Number(params["clip_eps_low"]))},
      {"epsilon_high", ExactText(Number(params["clip_eps_high"]))},
      {"dual_clip", ExactText(NumberOr(params, "dual_clip", 0))},
      {"max_log_ratio", "20"},
      {"importance_sampling_level", by_sequence ? "sequence" : "token"},
      {"aggregation", by_token ? "token-mean" : "seq-mean-token-mean"}};
  const losses::PolicyLossOrError loss = losses::MakePolicyLoss("ppo", values);
  if (!loss.ok()) return InvalidArgument(loss.error);
  losses::PolicyInputs in = PolicyRows(inputs["action_mask"]);
  in.log_prob = Array(inputs["log_probs"]);
  in.old_log_prob = Array(inputs["old_log_probs"]);
  in.token_advantages = Array(inputs["advantages"]);
  const losses::PolicyResult got = loss.loss(in);
  CheckLossAndGradient(got, got.weight, outputs["loss"],
                       outputs["grad_log_probs"], kMasked, result);
  const MetricPair names[] = {{"clip_ratio", "clip_ratio/region_mean"},
                              {"ppo_kl", "actor/ppo_kl"}};
  CheckMetrics(got, outputs, names, kMasked, result);
  return absl::OkStatus();
}

absl::Status CheckOpenRlhfValue(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const losses::PolicyInputs rows = PolicyRows(inputs["action_mask"]);
  const losses::PpoValueResult got =
      losses::PpoValueLoss(Array(inputs["values"]), Array(inputs["old_values"]),
                           Array(inputs["returns"]),
                           {.clip = NumberOr(one["params"], "clip_eps", 0)});
  const bool by_token = FlagOr(one["params"], "token_level_loss", true);
  const losses::AggregationShares shares = losses::SharesOf(
      {.aggregation = by_token ? losses::Aggregation::kTokenMean
                               : losses::Aggregation::kSequenceMeanTokenMean},
      losses::ScoredTokens(rows), 0);
  const Eigen::ArrayXd weights =
      losses::OverTokens(rows.offsets, shares.token_factor) * rows.mask /
      shares.weight;
  result.Near("loss", (got.loss * weights).sum(), Number(outputs["loss"]),
              kMasked);
  result.Near("gradient", Eigen::ArrayXd(got.d_value * weights),
              Numbers(outputs["grad_values"]), kMasked);
  return absl::OkStatus();
}

absl::Status CheckOpenRlhfReward(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const Eigen::ArrayXd chosen = Array(inputs["chosen_reward"]);
  const Eigen::ArrayXd rejected = Array(inputs["reject_reward"]);
  const auto margin = Find(inputs, "margin");
  const losses::BradleyTerryResult got =
      Text(one["fn"]) == "LogExpLoss"
          ? losses::LogExpLoss(chosen, rejected)
          : losses::BradleyTerryLoss(
                chosen, rejected, margin ? Array(*margin) : Eigen::ArrayXd());
  const auto pairs = static_cast<double>(chosen.size());
  result.Near("loss", got.loss.mean(), Number(outputs["loss"]), kDouble);
  result.Near("gradient by chosen", Eigen::ArrayXd(got.d_chosen / pairs),
              Numbers(outputs["grad"]["chosen"]), kDouble);
  result.Near("gradient by rejected", Eigen::ArrayXd(got.d_rejected / pairs),
              Numbers(outputs["grad"]["rejected"]), kDouble);
  return absl::OkStatus();
}

absl::Status CheckOpenRlhfAdvantages(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"];
  losses::AdvantageInputs in = AdvantageRows(inputs["action_mask"]);
  in.values = Array(inputs["values"]);
  in.token_rewards = Array(inputs["rewards"]);
  in.rewards = Eigen::ArrayXd::Zero(in.sequences());
  const std::string gamma = ExactText(Number(params["gamma"]));
  const losses::AdvantageEstimatorOrError gae = losses::MakeAdvantageEstimator(
      "gae", {{"gamma", gamma},
              {"lambda", ExactText(Number(params["lambd"]))},
              {"holes", "zero"},
              {"whiten_advantages", "false"}});
  if (!gae.ok()) return InvalidArgument(gae.error);
  const losses::AdvantageResult got = gae.estimator(in);
  NearWithin(in.mask, "advantages", got.token_advantages, outputs["advantages"],
             kDouble, result);
  NearWithin(in.mask, "returns", got.returns, outputs["returns"], kDouble,
             result);
  // Over whole rows: a hole is a step without reward here too.
  Eigen::ArrayXd sums(in.mask.size());
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    const Eigen::Index begin = in.offsets[i];
    const Eigen::Index length = in.offsets[i + 1] - begin;
    sums.segment(begin, length) =
        losses::ReturnsToGo((in.token_rewards * in.mask).segment(begin, length),
                            Number(params["gamma"]));
  }
  NearWithin(in.mask, "cumulative returns", sums,
             outputs["cumulative_returns(REINFORCE)"], kDouble, result);
  return absl::OkStatus();
}

absl::Status CheckOpenRlhfKl(Json one, Case& result) {
  const Json inputs = one["inputs"];
  losses::KlRule rule;
  losses::OptionList list;
  rule.Describe(list);
  const std::string name = Text(one["params"]["kl_estimator"]);
  const std::string error = losses::SetOptions(
      name, list, {{"kl_estimator", name}, {"kl_max", "10"}});
  if (!error.empty()) return Unimplemented("OpenRLHF's " + error);
  result.Near("kl",
              losses::EstimateKl(rule, Array(inputs["log_probs"]),
                                 Array(inputs["log_probs_base"])),
              Numbers(one["outputs"]["kl"]), kDouble);
  return absl::OkStatus();
}

absl::Status CheckOpenRlhfCase(Json one, Case& result) {
  const std::string function = Text(one["fn"]);
  if (function == "PolicyLoss") return CheckOpenRlhfPolicy(one, result);
  if (function == "ValueLoss") return CheckOpenRlhfValue(one, result);
  if (function == "PairWiseLoss" || function == "LogExpLoss") {
    return CheckOpenRlhfReward(one, result);
  }
  if (function == "get_advantages_and_returns") {
    return CheckOpenRlhfAdvantages(one, result);
  }
  if (function == "compute_approx_kl") return CheckOpenRlhfKl(one, result);
  return Unimplemented("OpenRLHF's " + function);
}

// Rewards and advantages over whole rows. This source whitens with the mean
// put back, and leaves 0 where the mask is.
absl::Status CheckTorchtuneAdvantages(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"];
  const losses::PolicyInputs rows = PolicyRows(inputs["mask"]);
  const Eigen::ArrayXd kl =
      losses::EstimateKl(losses::KlEstimator::kK1, Array(inputs["logprobs"]),
                         Array(inputs["ref_logprobs"]));
  const Eigen::ArrayXd scores = Array(inputs["scores"]);
  const Eigen::ArrayXd values = Array(inputs["values"]);
  const std::vector<int32_t> at = Ints(inputs["valid_score_idxs"]);
  Eigen::ArrayXd rewards(kl.size()), advantages(kl.size()), returns(kl.size());
  for (Eigen::Index i = 0; i < rows.sequences(); ++i) {
    const Eigen::Index begin = rows.offsets[i];
    const Eigen::Index length = rows.offsets[i + 1] - begin;
    rewards.segment(begin, length) =
        losses::KlShapedRewards(kl.segment(begin, length),
                                Number(params["kl_coeff"]), scores[i], at[i]);
    const losses::GaeResult gae = losses::Gae(
        rewards.segment(begin, length), values.segment(begin, length),
        {.gamma = Number(params["gamma"]), .lambda = Number(params["lmbda"])});
    advantages.segment(begin, length) = gae.advantages;
    returns.segment(begin, length) = gae.returns;
  }
  result.Near("kl", kl, Numbers(outputs["kl"]), kDouble);
  result.Near("rewards", rewards, Numbers(outputs["total_reward"]), kDouble);
  result.Near("returns", returns, Numbers(outputs["returns"]), kDouble);
  NearWithin(rows.mask, "advantages",
             losses::MaskedWhiten(advantages, rows.mask, {.shift_mean = false}),
             outputs["advantages"], kMasked, result);
  return absl::OkStatus();
}

absl::Status CheckTorchtuneLoss(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"];
  const Eigen::ArrayXd mask = Array(inputs["mask"]);
  const double clip = Number(params["epsilon"]);
  const double weight = Number(params["value_coeff"]);
  const losses::PpoPolicyResult policy = losses::PpoPolicyLoss(
      Array(inputs["pi_logprobs"]), Array(inputs["pi_old_logprobs"]),
      Array(inputs["advantages"]), {.clip_low = clip, .clip_high = clip});
  const losses::PpoValueResult value = losses::PpoValueLoss(
      Array(inputs["phi_values"]), Array(inputs["phi_old_values"]),
      Array(inputs["returns"]), {.clip = Number(params["value_clip_range"])});
  const double policy_loss = losses::MaskedMean(policy.loss, mask);
  const double value_loss = losses::MaskedMean(value.loss, mask);
  result.Near("policy loss", policy_loss, Number(outputs["policy_loss"]),
              kMasked);
  result.Near("value loss", value_loss, Number(outputs["value_loss"]), kMasked);
  result.Near("loss", policy_loss + weight * value_loss,
              Number(outputs["loss"]), kMasked);
  // Over padding too.
  result.Near("ratio", policy.ratio.mean(), Number(outputs["mean_ratio"]),
              kDouble);
  result.Near("clip fraction", losses::MaskedMean(policy.clipped, mask),
              Number(outputs["clipfrac"]), kMasked);
  result.Near("gradient by log-probs",
              Eigen::ArrayXd(policy.d_log_prob * mask / mask.sum()),
              Numbers(outputs["grad"]["pi_logprobs"]), kMasked);
  result.Near("gradient by values",
              Eigen::ArrayXd(weight * value.d_value * mask / mask.sum()),
              Numbers(outputs["grad"]["phi_values"]), kMasked);
  return absl::OkStatus();
}

absl::Status CheckTorchtuneCase(Json one, Case& result) {
  const std::string function = Text(one["fn"]);
  if (function == "get_rewards_ppo+estimate_advantages") {
    return CheckTorchtuneAdvantages(one, result);
  }
  if (function == "PPOLoss") return CheckTorchtuneLoss(one, result);
  return Unimplemented("torchtune's " + function);
}

}  // namespace

void CheckOpenRlhf(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", Text(one["fn"]),
                 [&](Case& result) { return CheckOpenRlhfCase(one, result); });
  }
}

void CheckTorchtune(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", Text(one["fn"]),
                 [&](Case& result) { return CheckTorchtuneCase(one, result); });
  }
}

}  // namespace align::oracle
