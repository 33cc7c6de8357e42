// golden/ppo/ppo_inline_*: the statements of TRL's newer PPO trainer, from
// sampled log-probs to the gradients of a minibatch.

#include <algorithm>
#include <span>

#include "losses/kl.h"
#include "losses/ppo.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/token_logps.h"

namespace align::oracle {
namespace {

constexpr Tolerance kFraction = {.absolute = 1e-6};  // through f32 there
// Whitening divides two integer tensors there, which gives an f32.
constexpr Tolerance kWhitened = {.absolute = 1e-7, .relative = 1e-7};

// A case's rows one after the other: arrays are [B * T].
struct Rollout {
  Eigen::Index rows = 0, length = 0;
  Eigen::ArrayXd token_mask;  // 1 where a response token is
  Eigen::ArrayXd value_mask;  // one step longer: where a value is read
  Eigen::ArrayXd rewards, values, advantages, returns;
};

absl::Status ShapeRewards(Json one, Rollout& rollout, Case& result) {
  const Json params = one["params"], inputs = one["inputs"];
  const Json outputs = one["outputs"];
  const std::string estimator = Text(params["kl_estimator"]);
  if (estimator != "k1" && estimator != "k3") {
    return Unimplemented("KL estimator " + estimator);
  }
  const Eigen::ArrayXd kl =
      rollout.token_mask * losses::EstimateKl(estimator == "k1"
                                                  ? losses::KlEstimator::kK1
                                                  : losses::KlEstimator::kK3,
                                              Array(inputs["logprobs"]),
                                              Array(inputs["ref_logprobs"]));
  result.Near("kl", kl, Numbers(outputs["kl"]), kDouble);
  const std::vector<double> scores = Numbers(outputs["scores_after_penalty"]);
  const std::vector<int32_t> last = Ints(outputs["sequence_lengths"]);
  rollout.rewards.resize(kl.size());
  for (Eigen::Index i = 0; i < rollout.rows; ++i) {
    // The score stands one step past the last token if the row has one.
    const Eigen::Index end =
        last[i] + 1 < rollout.length ? last[i] + 1 : last[i];
    rollout.rewards.segment(i * rollout.length, rollout.length) =
        losses::KlShapedRewards(kl.segment(i * rollout.length, rollout.length),
                                Number(params["kl_coef"]), scores[i], end);
  }
  if (FlagOr(params, "whiten_rewards", false)) {
    rollout.rewards = rollout.value_mask *
                      losses::MaskedWhiten(rollout.rewards, rollout.value_mask,
                                           {.shift_mean = false});
  }
  result.Near("rewards", rollout.rewards, Numbers(outputs["rewards"]),
              kWhitened);
  return absl::OkStatus();
}

void EstimateAdvantages(Json one, Rollout& rollout, Case& result) {
  const Json params = one["params"], outputs = one["outputs"];
  rollout.values = rollout.value_mask * Array(one["inputs"]["values"]);
  rollout.advantages.resize(rollout.values.size());
  rollout.returns.resize(rollout.values.size());
  for (Eigen::Index i = 0; i < rollout.rows; ++i) {
    const Eigen::Index begin = i * rollout.length;
    const losses::GaeResult row = losses::Gae(
        rollout.rewards.segment(begin, rollout.length),
        rollout.values.segment(begin, rollout.length),
        {.gamma = Number(params["gamma"]), .lambda = Number(params["lam"])});
    rollout.advantages.segment(begin, rollout.length) = row.advantages;
    rollout.returns.segment(begin, rollout.length) = row.returns;
  }
  rollout.advantages =
      rollout.token_mask *
      losses::MaskedWhiten(rollout.advantages, rollout.token_mask);
  result.Near("advantages", rollout.advantages, Numbers(outputs["advantages"]),
              kWhitened);
  result.Near("returns", rollout.returns, Numbers(outputs["returns"]),
              kWhitened);
}

// The response positions of new_logits [B, C + T, V], divided by the
// temperature as there, and of new_values [B, C + T, 1].
struct Minibatch {
  LabelledLogits rows;
  Eigen::ArrayXd values;
  std::vector<Eigen::Index> position;  // of each row, among B * (C + T)
};

Minibatch MinibatchOf(Json one, const Rollout& rollout) {
  const Json params = one["params"], inputs = one["inputs"];
  const auto context =
      static_cast<Eigen::Index>(Number(params["context_length"]));
  Minibatch out;
  for (Eigen::Index i = 0; i < rollout.rows; ++i) {
    for (Eigen::Index t = 0; t < rollout.length; ++t) {
      out.position.push_back(i * (context + rollout.length) + context - 1 + t);
    }
  }
  const double temperature = Number(params["temperature"]) + 1e-7;
  out.rows.logits =
      LogitRows(inputs["new_logits"])(out.position, Eigen::all) / temperature;
  out.rows.labels = Ints(one["outputs"]["postprocessed_responses"]);
  out.values = rollout.value_mask * Array(inputs["new_values"])(out.position);
  return out;
}

absl::Status CheckMinibatch(Json one, const Rollout& rollout, bool fused,
                            Case& result) {
  const Json params = one["params"], outputs = one["outputs"];
  const Tolerance tolerance = fused ? kFloat : kWhitened;
  const Minibatch batch = MinibatchOf(one, rollout);
  const RowScores scores =
      fused ? ScoreFused(batch.rows) : ScoreInDouble(batch.rows);
  const Eigen::Map<const Eigen::ArrayXd> log_probs(
      scores.log_probs.data(), rollout.rows * rollout.length);
  const Eigen::ArrayXd masked = rollout.token_mask * log_probs;
  const Eigen::ArrayXd golden =
      rollout.token_mask * Array(outputs["new_logprobs"]);
  result.Near("new log-probs", masked,
              std::span(golden.data(), static_cast<size_t>(golden.size())),
              tolerance);
  const double clip = Number(params["cliprange"]);
  const losses::PpoPolicyResult policy = losses::PpoPolicyLoss(
      masked, rollout.token_mask * Array(one["inputs"]["logprobs"]),
      rollout.advantages, {.clip_low = clip, .clip_high = clip});
  const losses::PpoValueResult value =
      losses::PpoValueLoss(batch.values, rollout.values, rollout.returns,
                           {.clip = Number(params["cliprange_value"])});
  const double weight = Number(params["vf_coef"]);
  const double pg = losses::MaskedMean(policy.loss, rollout.token_mask);
  const double vf = losses::MaskedMean(value.loss, rollout.value_mask);
  result.Near("policy loss", pg, Number(outputs["pg_loss"]), tolerance);
  result.Near("value loss", vf, Number(outputs["vf_loss"]), tolerance);
  result.Near("loss", pg + weight * vf, Number(outputs["loss"]), tolerance);
  result.Near("policy clip fraction",
              losses::MaskedMean(policy.clipped, rollout.token_mask),
              Number(outputs["pg_clipfrac"]), kFraction);
  result.Near("value clip fraction",
              losses::MaskedMean(value.clipped, rollout.value_mask),
              Number(outputs["vf_clipfrac"]), kFraction);
  result.Near("entropy", scores.entropies, Numbers(outputs["entropy"]),
              tolerance);

  const Eigen::ArrayXd seeds = policy.d_log_prob * rollout.token_mask /
                               rollout.token_mask.sum() /
                               (Number(params["temperature"]) + 1e-7);
  const std::vector<double> seed(seeds.begin(), seeds.end());
  const std::vector<double> none(seed.size(), 0.0);
  const std::vector<double> rows =
      fused ? GradientFused(batch.rows, seed, none)
            : GradientInDouble(batch.rows, seed, none);
  const std::vector<double> by_logits =
      Numbers(outputs["grad_loss_wrt_new_logits"]);
  const std::vector<double> by_values =
      Numbers(outputs["grad_loss_wrt_new_values"]);
  const Eigen::ArrayXd value_seeds =
      weight * value.d_value * rollout.value_mask / rollout.value_mask.sum();
  std::vector<double> logit_gradient(by_logits.size());
  std::vector<double> value_gradient(by_values.size());
  const auto vocab = batch.rows.logits.cols();
  for (size_t k = 0; k < batch.position.size(); ++k) {
    const auto row = static_cast<Eigen::Index>(k);
    std::copy_n(rows.begin() + row * vocab, vocab,
                logit_gradient.begin() + batch.position[k] * vocab);
    value_gradient[batch.position[k]] = value_seeds[row];
  }
  result.Near("gradient by logits", logit_gradient, by_logits, tolerance);
  result.Near("gradient by values", value_gradient, by_values, tolerance);
  return absl::OkStatus();
}

absl::Status CheckCase(Json one, bool fused, Case& result) {
  const Json outputs = one["outputs"];
  Rollout rollout;
  rollout.token_mask = 1.0 - Array(outputs["padding_mask"]);
  rollout.value_mask = 1.0 - Array(outputs["padding_mask_p1"]);
  rollout.rows =
      static_cast<Eigen::Index>(Items(outputs["padding_mask"]).size());
  rollout.length = rollout.token_mask.size() / rollout.rows;
  ALIGN_RETURN_IF_ERROR(ShapeRewards(one, rollout, result));
  EstimateAdvantages(one, rollout, result);
  return CheckMinibatch(one, rollout, fused, result);
}

}  // namespace

void CheckPpoInline(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    for (bool fused : {false, true}) {
      reporter.Run(fused ? "f32 fused" : "double", "rollout and minibatch",
                   [&](Case& result) { return CheckCase(one, fused, result); });
    }
  }
}

}  // namespace align::oracle
