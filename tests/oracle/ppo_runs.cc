// runs/ppo_classic*/run.json: one rollout of TRL 0.7 and its epochs, through
// the product's targets, objective, optimizer and loop, with a value head on
// the policy's trunk, against the f32 block.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "align/tensor/tape.h"
#include "align/train/ppo_objective.h"
#include "align/train/ppo_targets.h"
#include "align/train/reference.h"
#include "align/train/rollout.h"
#include "tests/oracle/classic_ppo.h"
#include "tests/oracle/run_trainer.h"

namespace align::oracle {
namespace {

// Two f32 programs, sums of some dozen values: see kFloat. What is made from
// them by whitening, where differences of values count, a little more.
constexpr Tolerance kDerived = {.absolute = 2e-5, .relative = 2e-5};

// The recorded queries and responses; token k of response i stands in column
// columns[i] + k of the file's rows, which have `width` columns.
struct Recorded {
  PackedBatch packed;
  std::vector<std::string> ids;
  std::vector<int64_t> columns;
  int64_t width = 0;
};

Recorded ReadRecorded(Json data) {
  Recorded recorded;
  const std::vector<Json> responses = Items(data["responses"]);
  for (Json query : Items(data["queries"])) {
    const std::vector<int32_t> prompt = Ints(query);
    const std::vector<int32_t> response =
        Ints(responses.at(recorded.ids.size()));
    recorded.packed.AppendCompletion(recorded.packed.AppendPrompt(prompt),
                                     response);
    recorded.ids.push_back(std::to_string(recorded.ids.size()));
    recorded.columns.push_back(static_cast<int64_t>(prompt.size()) - 1);
    recorded.width =
        std::max(recorded.width,
                 static_cast<int64_t>(prompt.size() + response.size()) - 1);
  }
  return recorded;
}

// [R] values of tokens from or into the file's [rows * width].
std::vector<double> FromRows(const Eigen::ArrayXd& rows,
                             const Recorded& recorded) {
  std::vector<double> tokens;
  const std::vector<int64_t> offsets = recorded.packed.ScoredOffsets();
  for (size_t i = 0; i < recorded.columns.size(); ++i) {
    for (int64_t k = 0; k < offsets[i + 1] - offsets[i]; ++k) {
      tokens.push_back(rows[static_cast<int64_t>(i) * recorded.width +
                            recorded.columns[i] + k]);
    }
  }
  return tokens;
}

Eigen::ArrayXd ToRows(const std::vector<double>& tokens,
                      const Recorded& recorded) {
  const auto count = static_cast<int64_t>(recorded.columns.size());
  Eigen::ArrayXd rows = Eigen::ArrayXd::Zero(count * recorded.width);
  const std::vector<int64_t> offsets = recorded.packed.ScoredOffsets();
  for (int64_t i = 0; i < count; ++i) {
    std::copy(tokens.begin() + offsets[i], tokens.begin() + offsets[i + 1],
              rows.begin() + i * recorded.width + recorded.columns[i]);
  }
  return rows;
}

absl::StatusOr<train::PpoScores> Score(const OracleFile& file,
                                       const Recorded& recorded,
                                       const Trainer& trainer) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> reference,
                         LoadWeights(file, "reference", false));
  const PackedBatch& packed = recorded.packed;
  ALIGN_ASSIGN_OR_RETURN(const std::vector<float> of_policy,
                         train::FrozenReference (*trainer.model)(packed));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<float> of_reference,
                         train::FrozenReference (*reference)(packed));
  const NoGrad no_grad;
  const Tensor values =
      train::TokenValues(*trainer.model, *trainer.value_head, packed);
  return train::PpoScores{
      .offsets = packed.ScoredOffsets(),
      .log_probs = {of_policy.begin(), of_policy.end()},
      .reference_log_probs = {of_reference.begin(), of_reference.end()},
      .values = {values.values().begin(), values.values().end()},
      .scores = Numbers(file.root["data"]["scores"])};
}

// What the tokens are trained towards. This source whitens rewards with the
// padding in its rows, which then has a reward that the last tokens of shorter
// replies see: there the targets are taken row by row.
absl::StatusOr<train::PpoTargets> MakeTargets(Json config,
                                              const train::PpoScores& scores,
                                              const Recorded& recorded,
                                              Json golden, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(const losses::KlEstimator estimator,
                         EstimatorOf(TextOr(config, "kl_penalty", "kl")));
  train::PpoTargetOptions options = {.kl_estimator = estimator,
                                     .gae = {.gamma = Number(config["gamma"]),
                                             .lambda = Number(config["lam"])}};
  const double kl_coef = Number(config["kl_coef"]);
  train::PpoTargets targets = train::MakePpoTargets(scores, kl_coef, options);
  if (!FlagOr(config, "whiten_rewards", false)) return targets;

  options.whiten_rewards = true;
  const train::PpoTargets whitened =
      train::MakePpoTargets(scores, kl_coef, options);
  const std::vector<double> wanted =
      FromRows(Array(golden["returns"]), recorded);
  for (size_t i = 0; i < recorded.columns.size(); ++i) {
    const int64_t begin = scores.offsets[i], end = scores.offsets[i + 1];
    if (recorded.columns[i] + end - begin < recorded.width) continue;
    result.Near("returns of a reply without padding",
                std::span(whitened.returns).subspan(begin, end - begin),
                std::span(wanted).subspan(begin, end - begin), kDerived);
  }
  const Eigen::ArrayXd mask =
      ToRows(std::vector<double>(scores.values.size(), 1.0), recorded);
  const PaddedAdvantages rows = AdvantagesOfRows(
      ToRows(targets.rewards, recorded), ToRows(scores.values, recorded), mask,
      static_cast<Eigen::Index>(recorded.columns.size()), true, options.gae);
  targets.advantages =
      FromRows(losses::MaskedWhiten(rows.advantages, mask), recorded);
  targets.returns = FromRows(rows.returns, recorded);
  return targets;
}

void CheckRollout(Json golden, const train::PpoScores& scores,
                  const train::PpoTargets& targets, const Recorded& recorded,
                  Case& result) {
  const auto near = [&](const char* name, const std::vector<double>& got,
                        Tolerance tolerance) {
    result.Near(name, got, FromRows(Array(golden[name]), recorded), tolerance);
  };
  near("logprobs", scores.log_probs, kFloat);
  near("ref_logprobs", scores.reference_log_probs, kFloat);
  near("values", scores.values, kFloat);
  near("kl", targets.kl, kFloat);
  near("rewards", targets.rewards, kFloat);
  near("advantages", targets.advantages, kDerived);
  near("returns", targets.returns, kDerived);
}

// One step an epoch. Rounding drifts as in other runs: tenfold to the end.
void CheckEpochs(Json golden, double value_weight, const Trainer& trainer,
                 Case& result) {
  const std::vector<Json> epochs = Items(golden["epochs"]);
  result.Near("epochs", static_cast<double>(trainer.reports.size()),
              static_cast<double>(epochs.size()), {});
  const size_t count = std::min(epochs.size(), trainer.reports.size());
  for (size_t i = 0; i < count; ++i) {
    const train::StepReport& report = trainer.reports[i];
    const double drift =
        1e-5 *
        std::pow(10.0, static_cast<double>(i) / std::max<double>(1, count - 1));
    const std::string at = " of epoch " + std::to_string(i);
    const auto near = [&](const std::string& name, double got, Json wanted) {
      result.Near(name + at, got, Number(wanted),
                  {.absolute = drift, .relative = drift});
    };
    near("loss", report.loss, epochs[i]["loss"]);
    near("gradient norm", report.grad_norm, epochs[i]["grad_norm_before_clip"]);
    const auto& got = report.metrics;
    near("policy loss", got.at("loss/policy_avg"), epochs[i]["pg_loss"]);
    near("value loss", value_weight * got.at("loss/value_avg"),
         epochs[i]["vf_coef_times_vf_loss"]);
    const Json stats = epochs[i]["stats"];
    for (const char* name :
         {"policy/approxkl", "policy/clipfrac", "policy/entropy"}) {
      near(name, got.at(std::string(name) + "_avg"), stats[name]);
    }
    near("val/clipfrac", got.at("val/clipfrac_avg"), stats["val/clipfrac"]);
  }
}

}  // namespace

absl::Status RunPpo(const OracleFile& file, Case& result) {
  const Json config = file.root["meta"]["config"];
  const Json golden = file.root["results"]["f32"];
  const Recorded recorded = ReadRecorded(file.root["data"]);
  if (Number(config["mini_batch_size"]) !=
      static_cast<double>(recorded.ids.size())) {
    return Unimplemented("PPO runs of more than one minibatch an epoch");
  }
  ALIGN_ASSIGN_OR_RETURN(Trainer trainer,
                         MakeTrainer(file, Head::kTokensAndValues));
  ALIGN_ASSIGN_OR_RETURN(const train::PpoScores scores,
                         Score(file, recorded, trainer));
  ALIGN_ASSIGN_OR_RETURN(
      const train::PpoTargets targets,
      MakeTargets(config, scores, recorded, golden["rollout"], result));
  CheckRollout(golden["rollout"], scores, targets, recorded, result);

  const std::vector<train::PpoBatch> batches(
      static_cast<size_t>(Number(config["ppo_epochs"])),
      {.packed = recorded.packed,
       .old_log_probs = scores.log_probs,
       .advantages = targets.advantages,
       .old_values = scores.values,
       .returns = targets.returns,
       .ids = recorded.ids,
       .rollout_metrics = {}});
  const double clip = Number(config["cliprange"]);
  const double value_weight = Number(config["vf_coef"]);
  ALIGN_RETURN_IF_ERROR(
      Train(train::Bind<train::PpoBatch>(
                InOrder(batches),
                train::PpoObjective(
                    *trainer.model, *trainer.value_head,
                    {.value_weight = value_weight,
                     .ratio_threshold = Number(config["ratio_threshold"]),
                     .policy = {.clip_low = clip, .clip_high = clip},
                     .value = {.clip = Number(config["cliprange_value"])}})),
            1, trainer));
  ALIGN_RETURN_IF_ERROR(train::CheckInitialRatios(trainer.reports.at(0)));
  CheckEpochs(golden, value_weight, trainer, result);
  CheckFinalParameters(golden, trainer, result);
  return absl::OkStatus();
}

}  // namespace align::oracle
