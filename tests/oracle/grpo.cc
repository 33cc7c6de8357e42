// golden/grpo: TRL's policy losses and advantages, by their registries.

#include "losses/advantage_registry.h"
#include "losses/policy_registry.h"
#include "losses/sequence_rewards.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/policy_rows.h"
#include "tests/oracle/token_logps.h"

namespace align::oracle {
namespace {

// TRL takes Bessel's n / (n - 1) and SAPO's temperatures in float32, half a
// rounding of which, 6e-8, each result is off by.
constexpr Tolerance kFloatConstants = {.absolute = 1e-7, .relative = 1e-7};

bool DividesByItems(const std::string& type) {
  return type == "dapo" || type == "cispo" || type == "vespo";
}

// Adds the option `name` from the parameter `key`, unless that is missing.
void Take(Json params, const char* key, const char* name,
          losses::OptionValues& values) {
  if (const auto value = Find(params, key)) {
    values.emplace_back(name, ExactText(Number(*value)));
  }
}

// TRL's GRPOTrainer by its config.
losses::PolicyLossOrError LossOf(Json params) {
  const std::string type = Text(params["loss_type"]);
  losses::OptionValues values;
  Take(params, "beta", "beta", values);
  Take(params, "top_entropy_quantile", "top_entropy_quantile", values);
  Take(params, "off_policy_mask_threshold", "off_policy_mask_threshold",
       values);
  Take(params, "entropy_coef", "entropy_coef", values);
  if (FlagOr(params, "use_bias_correction_kl", false)) {
    values.emplace_back("use_bias_correction_kl", "true");
  }
  if (type == "cispo") {
    Take(params, "epsilon_high", "ratio_high", values);
  } else if (type == "sapo") {
    Take(params, "sapo_temperature_pos", "sapo_temperature_pos", values);
    Take(params, "sapo_temperature_neg", "sapo_temperature_neg", values);
  } else if (type == "vespo") {
    for (const char* name : {"vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg",
                             "vespo_lambda_neg"}) {
      Take(params, name, name, values);
    }
  } else {
    Take(params, "epsilon_low", "epsilon", values);
    Take(params, "epsilon_high", "epsilon_high", values);
    Take(params, "delta", "delta", values);
    values.emplace_back("importance_sampling_level",
                        TextOr(params, "importance_sampling_level", "token"));
  }
  return losses::MakePolicyLoss(type, values);
}

losses::PolicyInputs InputsOf(Json set, Json params) {
  losses::PolicyInputs in = PolicyRows(set["completion_mask"]);
  in.log_prob = Array(set["per_token_logps"]);
  if (!FlagOr(params, "old_per_token_logps_is_none", false)) {
    in.old_log_prob = Array(set["old_per_token_logps"]);
  }
  in.reference_log_prob = Array(set["ref_per_token_logps"]);
  in.entropy = Array(set["entropies"]);
  in.advantages = Array(set["advantages"]);
  in.max_completion_length = Number(params["max_completion_length"]);
  return in;
}

// TRL's loss of a token, where it keeps one: before averages and entropy.
void CheckTokenLoss(const losses::PolicyInputs& in, const std::string& type,
                    const losses::PolicyResult& got, Json wanted,
                    Tolerance tolerance, Case& result) {
  if (type == "luspo" || Array(wanted).size() != in.mask.size()) return;
  Eigen::ArrayXd loss = got.loss;
  if (type == "grpo" || type == "sapo") {
    loss *= losses::OverTokens(in.offsets, losses::ScoredTokens(in));
  } else if (type == "dr_grpo") {
    loss *= in.max_completion_length;
  }
  NearWithin(in.mask, "loss of tokens", loss, wanted, tolerance, result);
}

absl::Status CheckLoss(Json set, Json one, Case& result) {
  const Json params = one["params"], outputs = one["outputs"];
  const std::string type = Text(params["loss_type"]);
  const losses::PolicyLossOrError loss = LossOf(params);
  if (!loss.ok()) return InvalidArgument(loss.error);
  const losses::PolicyInputs in = InputsOf(set, params);
  const losses::PolicyResult got = loss.loss(in);
  const Tolerance tolerance = type == "sapo" ? kFloatConstants : kDouble;
  // These divide by the step's tokens, the others by a micro-batch's share.
  const double denominator =
      DividesByItems(type)
          ? Number(params["num_items_in_batch"])
          : got.weight *
                NumberOr(params, "current_gradient_accumulation_steps", 1);
  CheckLossAndGradient(got, denominator, outputs["loss"],
                       outputs["grad"]["per_token_logps"], tolerance, result);
  if (const auto gradient = Find(outputs["grad"], "entropies")) {
    result.Near("gradient by entropy",
                Eigen::ArrayXd(got.d_entropy / denominator), Numbers(*gradient),
                kDouble);
  } else if (const auto each =
                 Find(outputs["intermediates_at_return"], "per_token_loss")) {
    CheckTokenLoss(in, type, got, *each, tolerance, result);
  }
  for (const losses::PolicyMetric& metric : got.metrics) {
    const auto wanted = Find(outputs["metrics"], metric.name);
    if (!wanted) continue;
    result.Near(metric.name, metric.value.Mean(), Number(*wanted), kDouble);
  }
  return absl::OkStatus();
}

absl::Status CheckAdvantages(Json one, Case& result) {
  const Json params = one["params"], outputs = one["outputs"];
  const std::string scale = Text(params["scale_rewards"]);
  const std::string mix = Text(params["multi_objective_aggregation"]);
  const losses::AdvantageEstimatorOrError estimator =
      losses::MakeAdvantageEstimator(
          "group",
          {{"scale_rewards", scale}, {"multi_objective_aggregation", mix}});
  if (!estimator.ok()) return InvalidArgument(estimator.error);
  const Json rewards = one["inputs"]["rewards_per_func"];
  losses::AdvantageInputs in;
  in.rewards_per_function = LogitRows(rewards);
  in.reward_weights = Numbers(params["reward_weights"]);
  const Eigen::Index samples = in.rewards_per_function.rows();
  in.offsets = RowOffsets(samples, 1);
  const auto size = static_cast<int64_t>(Number(params["num_generations"]));
  for (int64_t i = 0; i < samples; ++i) in.groups.push_back(i / size);
  const losses::AdvantageResult got = estimator.estimator(in);
  result.Near("advantages", got.advantages, Numbers(outputs["advantages"]),
              scale == "none" ? kDouble : kFloatConstants);
  if (mix != "sum_then_normalize") return absl::OkStatus();
  result.Near("rewards", losses::SumRewards(in), Numbers(outputs["rewards"]),
              kDouble);
  if (scale == "batch") return absl::OkStatus();
  result.Near("deviations", got.reward_std, Numbers(outputs["std_rewards"]),
              kFloatConstants);
  return absl::OkStatus();
}

}  // namespace

void CheckGrpoLoss(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const Json set =
        file.root["meta"]["input_sets"].at_key(Text(one["input_set"]));
    reporter.Run("double", Text(one["name"]),
                 [&](Case& result) { return CheckLoss(set, one, result); });
  }
}

void CheckGrpoAdvantages(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", Text(one["name"]),
                 [&](Case& result) { return CheckAdvantages(one, result); });
  }
}

}  // namespace align::oracle
