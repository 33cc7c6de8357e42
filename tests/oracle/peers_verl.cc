// golden/peers/verl_core_algos.json: verl's advantages, policy and value losses
// and KL estimators, by the registries.

#include "losses/advantage_registry.h"
#include "losses/policy_registry.h"
#include "losses/ppo.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/policy_rows.h"

namespace align::oracle {
namespace {

// verl's masked means add 1e-8 to their denominators.
constexpr Tolerance kMasked = {.absolute = 1e-7, .relative = 1e-7};

// Name and options here of an estimator there; "name(option=value)" is one of
// theirs with an option.
struct Named {
  std::string name;
  losses::OptionValues values;
};

absl::StatusOr<Named> AdvantageOf(const std::string& function) {
  const std::string name = function.substr(0, function.find('('));
  Named out{name, {}};
  if (name == "grpo" || name == "grpo_no_std") {
    const char* scale = name == "grpo" ? "group" : "none";
    return Named{"group",
                 {{"epsilon", "1e-6"},
                  {"scale_rewards", scale},
                  {"single_sample", "reward"}}};
  }
  if (name == "rloo" || name == "opo") {
    out.values = {{"single_sample", "reward"}};
  } else if (name == "reinforce_plus_plus") {
    const size_t at = function.find("gamma=");
    if (at != std::string::npos) {
      const size_t begin = at + 6;
      out.values = {
          {"gamma", function.substr(begin, function.find(')') - begin)}};
    }
  } else if (name != "reinforce_plus_plus_baseline" && name != "remax") {
    return Unimplemented("verl's " + function);
  }
  return out;
}

absl::Status CheckGroupAdvantages(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  ALIGN_ASSIGN_OR_RETURN(const Named named, AdvantageOf(Text(one["fn"])));
  const losses::AdvantageEstimatorOrError made =
      losses::MakeAdvantageEstimator(named.name, named.values);
  if (!made.ok()) return InvalidArgument(made.error);
  losses::AdvantageInputs in = AdvantageRows(inputs["response_mask"]);
  in.token_rewards = Array(inputs["token_level_rewards"]);
  in.rewards = Eigen::ArrayXd::Zero(in.sequences());
  for (double group : Numbers(inputs["group_index"])) {
    in.groups.push_back(static_cast<int64_t>(group));
  }
  if (const auto baselines = Find(inputs, "reward_baselines")) {
    in.baselines = Array(*baselines);
  }
  const losses::AdvantageResult got = made.estimator(in);
  const Eigen::ArrayXd tokens =
      got.token_advantages.size() > 0
          ? got.token_advantages
          : losses::OverTokens(in.offsets, got.advantages);
  NearWithin(in.mask, "advantages", tokens, outputs["advantages"], kMasked,
             result);
  if (got.returns.size() > 0) {
    NearWithin(in.mask, "returns", got.returns, outputs["returns"], kMasked,
               result);
  }
  return absl::OkStatus();
}

absl::Status CheckGae(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const losses::AdvantageEstimatorOrError made = losses::MakeAdvantageEstimator(
      "gae", {{"gamma", ExactText(Number(params["gamma"]))},
              {"lambda", ExactText(Number(params["lam"]))}});
  if (!made.ok()) return InvalidArgument(made.error);
  losses::AdvantageInputs in = AdvantageRows(inputs["response_mask"]);
  in.token_rewards = Array(inputs["token_level_rewards"]);
  in.rewards = Eigen::ArrayXd::Zero(in.sequences());
  in.values = Array(inputs["values"]);
  const losses::AdvantageResult got = made.estimator(in);
  NearWithin(in.mask, "advantages", got.token_advantages,
             one["outputs"]["advantages"], kMasked, result);
  NearWithin(in.mask, "returns", got.returns, one["outputs"]["returns"],
             kMasked, result);
  return absl::OkStatus();
}

absl::StatusOr<losses::PolicyLossOrError> PolicyLossOf(Json one) {
  const Json params = one["params"];
  const std::string function = Text(one["fn"]);
  losses::OptionValues values = {
      {"aggregation", Text(params["loss_agg_mode"])},
      {"norm_batch", "sum"},
      {"count_empty", "false"},
      {"epsilon", ExactText(Number(params["clip_ratio_low"]))},
      {"epsilon_high", ExactText(Number(params["clip_ratio_high"]))}};
  if (function == "compute_policy_loss_geo_mean") {
    return losses::MakePolicyLoss("gmpo", values);
  }
  if (function == "compute_policy_loss_gspo") {
    values.emplace_back("importance_sampling_level", "sequence_token");
    values.emplace_back("max_log_ratio", "10");
    return losses::MakePolicyLoss("gspo", values);
  }
  if (function != "compute_policy_loss_vanilla") {
    return Unimplemented("verl's " + function);
  }
  values.emplace_back("max_log_ratio", "20");
  values.emplace_back("dual_clip", ExactText(Number(params["clip_ratio_c"])));
  return losses::MakePolicyLoss("ppo", values);
}

absl::Status CheckPolicyLoss(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  ALIGN_ASSIGN_OR_RETURN(const losses::PolicyLossOrError loss,
                         PolicyLossOf(one));
  if (!loss.ok()) return InvalidArgument(loss.error);
  losses::PolicyInputs in = PolicyRows(inputs["response_mask"]);
  in.log_prob = Array(inputs["log_prob"]);
  in.old_log_prob = Array(inputs["old_log_prob"]);
  in.token_advantages = Array(inputs["advantages"]);
  // It divides by the length of the padded rows.
  in.max_completion_length = static_cast<double>(in.offsets.at(1));
  const losses::PolicyResult got = loss.loss(in);
  CheckLossAndGradient(got, got.weight, outputs["pg_loss"],
                       outputs["grad_log_prob"], kMasked, result);
  // gmpo has the names of verl; elsewhere its fraction is TRL's region.
  const bool named = losses::FindMetric(got, "actor/pg_clipfrac") != nullptr;
  const MetricPair names[] = {
      {"actor/pg_clipfrac",
       named ? "actor/pg_clipfrac" : "clip_ratio/region_mean"},
      {"actor/ppo_kl", "actor/ppo_kl"},
      {"actor/pg_clipfrac_lower", "actor/pg_clipfrac_lower"}};
  CheckMetrics(got, outputs["metrics"], names, kMasked, result);
  return absl::OkStatus();
}

absl::Status CheckValueLoss(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const Eigen::ArrayXd mask = Array(inputs["response_mask"]);
  const losses::PpoValueResult got =
      losses::PpoValueLoss(Array(inputs["vpreds"]), Array(inputs["values"]),
                           Array(inputs["returns"]),
                           {.clip = Number(one["params"]["cliprange_value"])});
  result.Near("loss", losses::MaskedMean(got.loss, mask),
              Number(outputs["vf_loss"]), kMasked);
  result.Near("clip fraction", losses::MaskedMean(got.clipped, mask),
              Number(outputs["vf_clipfrac"]), kMasked);
  result.Near("gradient", Eigen::ArrayXd(got.d_value * mask / mask.sum()),
              Numbers(outputs["grad_vpreds"]), kMasked);
  return absl::OkStatus();
}

absl::Status CheckKlPenalty(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const std::string name = Text(one["params"]["kl_penalty"]);
  losses::KlRule rule;
  losses::OptionList list;
  rule.Describe(list);
  losses::OptionValues values = {{"kl_estimator", name}};
  if (name == "k3") {
    values.emplace_back("kl_max_log_ratio", "20");
    values.emplace_back("kl_max", "10");
  }
  const std::string error = losses::SetOptions(name, list, values);
  if (!error.empty()) return Unimplemented("verl's kl_penalty " + error);
  const Eigen::ArrayXd q =
      Array(inputs["logprob"]) - Array(inputs["ref_logprob"]);
  const auto slope = [&rule](double x) { return rule.At(x).slope; };
  result.Near("kl", losses::EstimateKl(rule, q, Eigen::ArrayXd::Zero(q.size())),
              Numbers(outputs["kl"]), kMasked);
  result.Near("gradient", Eigen::ArrayXd(q.unaryExpr(slope)),
              Numbers(outputs["grad_of_sum"]), kMasked);
  return absl::OkStatus();
}

absl::Status CheckCase(Json one, Case& result) {
  const std::string function = Text(one["fn"]);
  if (function == "compute_gae_advantage_return") return CheckGae(one, result);
  if (function == "compute_value_loss") return CheckValueLoss(one, result);
  if (function == "kl_penalty") return CheckKlPenalty(one, result);
  if (function.starts_with("compute_policy_loss_")) {
    return CheckPolicyLoss(one, result);
  }
  return CheckGroupAdvantages(one, result);
}

}  // namespace

void CheckVerl(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", Text(one["fn"]),
                 [&](Case& result) { return CheckCase(one, result); });
  }
}

}  // namespace align::oracle
