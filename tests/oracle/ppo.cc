// golden/ppo of TRL 0.7: core functions, the trainer's parts, KL controllers.

#include "losses/ppo.h"

#include <cmath>

#include "losses/kl.h"
#include "tests/oracle/classic_ppo.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/token_logps.h"

namespace align::oracle {
namespace {

// Fractions pass through f32 in the source.
constexpr Tolerance kFraction = {.absolute = 1e-6};

absl::Status CheckScores(Json one, bool entropy, bool fused, Case& result) {
  const Tolerance tolerance = fused ? kFloat : kDouble;
  const Json inputs = one["inputs"], outputs = one["outputs"];
  LabelledLogits rows{LogitRows(inputs["logits"]), {}};
  const auto count = static_cast<size_t>(rows.logits.rows());
  rows.labels =
      entropy ? std::vector<int32_t>(count, 0) : Ints(inputs["labels"]);
  const RowScores scores = fused ? ScoreFused(rows) : ScoreInDouble(rows);
  const std::vector<double> ones(count, 1.0), none(count, 0.0);
  const auto gradient = fused ? GradientFused : GradientInDouble;
  result.Near(entropy ? "entropy" : "logprobs",
              entropy ? scores.entropies : scores.log_probs,
              Numbers(outputs[entropy ? "entropy" : "logprobs"]), tolerance);
  result.Near("gradient",
              entropy ? gradient(rows, none, ones) : gradient(rows, ones, none),
              Numbers(outputs["grad_of_sum"]), tolerance);
  return absl::OkStatus();
}

absl::Status CheckMaskedStatistics(Json one, Case& result) {
  const Eigen::ArrayXd values = Array(one["inputs"]["values"]);
  const Eigen::ArrayXd mask = Array(one["inputs"]["mask"]);
  const Eigen::ArrayXd all = Eigen::ArrayXd::Ones(mask.size());
  const Json outputs = one["outputs"];
  const auto near = [&](const char* name, const Eigen::ArrayXd& got) {
    result.Near(name, got, Numbers(outputs[name]), kDouble);
  };
  result.Near("masked_mean", losses::MaskedMean(values, mask),
              Number(outputs["masked_mean"]), kDouble);
  result.Near("masked_var_unbiased", losses::MaskedVariance(values, mask),
              Number(outputs["masked_var_unbiased"]), kDouble);
  result.Near("masked_var_biased", losses::MaskedVariance(values, mask, false),
              Number(outputs["masked_var_biased"]), kDouble);
  near("masked_whiten", losses::MaskedWhiten(values, mask));
  near("masked_whiten_noshift",
       losses::MaskedWhiten(values, mask, {.shift_mean = false}));
  near("whiten", losses::MaskedWhiten(values, all));
  near("whiten_noshift",
       losses::MaskedWhiten(values, all, {.shift_mean = false}));
  return absl::OkStatus();
}

// KL of all tokens [N], row by row.
absl::StatusOr<Eigen::ArrayXd> KlOf(Json one) {
  const Json inputs = one["inputs"];
  const std::string penalty = Text(one["params"]["kl_penalty"]);
  if (penalty == "full") {
    return losses::FullKl(LogitRows(inputs["logprobs"]),
                          LogitRows(inputs["ref_logprobs"]));
  }
  ALIGN_ASSIGN_OR_RETURN(const losses::KlEstimator estimator,
                         EstimatorOf(penalty));
  return losses::EstimateKl(estimator, Array(inputs["logprobs"]),
                            Array(inputs["ref_logprobs"]));
}

absl::Status CheckRewards(Json one, Case& result) {
  const Json inputs = one["inputs"], outputs = one["outputs"];
  ALIGN_ASSIGN_OR_RETURN(const Eigen::ArrayXd kl, KlOf(one));
  result.Near("kls", kl, Numbers(outputs["kls"]), kDouble);
  const double coefficient = Number(one["params"]["kl_coef"]);
  const std::vector<Json> masks = Items(inputs["mask"]);
  const std::vector<Json> rewards = Items(outputs["rewards"]);
  const std::vector<double> scores = Numbers(inputs["scores"]);
  for (size_t i = 0; i < masks.size(); ++i) {
    const Eigen::ArrayXd mask = Array(masks[i]);
    Eigen::Index last = 0;
    for (Eigen::Index t = 0; t < mask.size(); ++t) last = mask[t] ? t : last;
    const Eigen::Index begin = static_cast<Eigen::Index>(i) * mask.size();
    result.Near("rewards of row " + std::to_string(i),
                losses::KlShapedRewards(kl.segment(begin, mask.size()),
                                        coefficient, scores[i], last),
                Numbers(rewards[i]), kDouble);
  }
  return absl::OkStatus();
}

absl::Status CheckAdvantages(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"];
  const Eigen::ArrayXd mask = Array(inputs["mask"]);
  const PaddedAdvantages got = AdvantagesOfRows(
      Array(inputs["rewards"]), Array(inputs["values"]), mask,
      static_cast<Eigen::Index>(Items(inputs["mask"]).size()),
      FlagOr(params, "whiten_rewards", false),
      {.gamma = Number(params["gamma"]), .lambda = Number(params["lam"])});
  result.Near("raw advantages", got.advantages,
              Numbers(outputs["raw_advantages"]), kDouble);
  result.Near("returns", got.returns, Numbers(outputs["returns"]), kDouble);
  result.Near("whitened advantages", losses::MaskedWhiten(got.advantages, mask),
              Numbers(outputs["advantages_whitened"]), kDouble);
  return absl::OkStatus();
}

absl::Status CheckLoss(Json one, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"], stats = outputs["stats"];
  const Eigen::ArrayXd mask = Array(inputs["mask"]);
  const Eigen::ArrayXd log_probs = Array(inputs["logprobs"]);
  const Eigen::ArrayXd old_log_probs = Array(inputs["old_logprobs"]);
  const double clip = Number(params["cliprange"]);
  const losses::PpoPolicyResult policy = losses::PpoPolicyLoss(
      log_probs, old_log_probs, Array(inputs["advantages"]),
      {.clip_low = clip, .clip_high = clip});
  const double kept = losses::RatiosRanAway(policy.ratio, mask,
                                            Number(params["ratio_threshold"]))
                          ? 0
                          : 1;
  const double weight = kept * Number(params["vf_coef"]);
  const losses::PpoValueResult value = losses::PpoValueLoss(
      Array(inputs["vpreds"]), Array(inputs["values"]),
      Array(inputs["returns"]), {.clip = Number(params["cliprange_value"])});
  const auto mean = [&](const char* name, const Eigen::ArrayXd& values,
                        double scale, double wanted, Tolerance tolerance) {
    result.Near(name, scale * losses::MaskedMean(values, mask), wanted,
                tolerance);
  };
  mean("policy loss", policy.loss, kept, Number(outputs["pg_loss"]), kDouble);
  mean("value loss", value.loss, weight,
       Number(outputs["vf_coef_times_vf_loss"]), kDouble);
  mean("policy/clipfrac", policy.clipped, 1, Number(stats["policy/clipfrac"]),
       kFraction);
  mean("val/clipfrac", value.clipped, 1, Number(stats["val/clipfrac"]),
       kFraction);
  mean("policy/approxkl", (log_probs - old_log_probs).square(), 0.5,
       Number(stats["policy/approxkl"]), kDouble);
  const Eigen::ArrayXd share = mask / mask.sum();
  const Json gradients = outputs["grad_total"];
  result.Near("gradient by log-probs", kept * policy.d_log_prob * share,
              Numbers(gradients["logprobs"]), kDouble);
  result.Near("gradient by values", weight * value.d_value * share,
              Numbers(gradients["vpreds"]), kDouble);
  return absl::OkStatus();
}

absl::Status CheckController(Json one, Case& result) {
  const Json params = one["params"];
  losses::AdaptiveKlController controller(
      {.initial = Number(params["init_kl_coef"]),
       .target = Number(params["target"]),
       .horizon = Number(params["horizon"])});
  std::vector<double> coefficients;
  for (double kl : Numbers(one["inputs"]["kl"])) {
    controller.Update(kl, Number(params["n_steps"]));
    coefficients.push_back(controller.coefficient());
  }
  result.Near("coefficient", coefficients,
              Numbers(one["outputs"]["value_after_each_update"]), kDouble);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<losses::KlEstimator> EstimatorOf(const std::string& penalty) {
  if (penalty == "kl") return losses::KlEstimator::kK1;
  if (penalty == "abs") return losses::KlEstimator::kAbs;
  if (penalty == "mse") return losses::KlEstimator::kK2;
  return Unimplemented("KL penalty " + penalty);
}

PaddedAdvantages AdvantagesOfRows(const Eigen::ArrayXd& rewards,
                                  const Eigen::ArrayXd& values,
                                  const Eigen::ArrayXd& mask, Eigen::Index rows,
                                  bool whiten_rewards,
                                  const losses::GaeOptions& options) {
  const Eigen::ArrayXd masked_values = values * mask;
  Eigen::ArrayXd shaped = rewards * mask;
  if (whiten_rewards) {
    shaped = losses::MaskedWhiten(shaped, mask, {.shift_mean = false});
  }
  const Eigen::Index length = mask.size() / rows;
  PaddedAdvantages out{Eigen::ArrayXd(mask.size()),
                       Eigen::ArrayXd(mask.size())};
  for (Eigen::Index begin = 0; begin < mask.size(); begin += length) {
    const losses::GaeResult row =
        losses::Gae(shaped.segment(begin, length),
                    masked_values.segment(begin, length), options);
    out.advantages.segment(begin, length) = row.advantages;
    out.returns.segment(begin, length) = row.returns;
  }
  return out;
}

void CheckPpoCore(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string name = Text(one["fn"]);
    if (name == "masked_stats") {
      reporter.Run("double", name, [&](Case& result) {
        return CheckMaskedStatistics(one, result);
      });
      continue;
    }
    if (name != "entropy_from_logits" && name != "logprobs_from_logits") {
      reporter.Skip("PPO function " + name);
      continue;
    }
    for (bool fused : {false, true}) {
      reporter.Run(fused ? "f32 fused" : "double", name, [&](Case& result) {
        return CheckScores(one, name == "entropy_from_logits", fused, result);
      });
    }
  }
}

void CheckPpoTrainer(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string name = Text(one["fn"]);
    if (name == "compute_rewards") {
      reporter.Run("double", name,
                   [&](Case& result) { return CheckRewards(one, result); });
    } else if (name == "compute_advantages") {
      reporter.Run("double", name,
                   [&](Case& result) { return CheckAdvantages(one, result); });
    } else if (name == "loss") {
      reporter.Run("double", name,
                   [&](Case& result) { return CheckLoss(one, result); });
    } else {
      reporter.Skip("PPO function " + name);
    }
  }
}

void CheckKlController(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    reporter.Run("double", "adaptive controller",
                 [&](Case& result) { return CheckController(one, result); });
  }
}

}  // namespace align::oracle
