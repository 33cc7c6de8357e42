// runs/grpo*/run.json and gspo*: updates on one recorded rollout, through the
// product's objective, advantages, optimizer and loop, against the f32 block.

#include <algorithm>
#include <cmath>

#include "align/train/group_rollout.h"
#include "align/train/policy_objective.h"
#include "align/train/reference.h"
#include "align/train/rollout.h"
#include "tests/oracle/run_trainer.h"

namespace align::oracle {
namespace {

absl::StatusOr<train::NamedPolicyLoss> LossOf(Json config) {
  const std::string type = Text(config["loss_type"]);
  std::vector<std::pair<std::string, std::string>> values = {
      {"beta", ExactText(NumberOr(config, "beta", 0))}};
  if (type == "cispo") {
    values.emplace_back("ratio_high",
                        ExactText(Number(config["epsilon_high"])));
  } else if (type != "sapo" && type != "vespo") {
    values.emplace_back("epsilon", ExactText(Number(config["epsilon_low"])));
    values.emplace_back("epsilon_high",
                        ExactText(Number(config["epsilon_high"])));
    values.emplace_back("importance_sampling_level",
                        TextOr(config, "importance_sampling_level", "token"));
  }
  return train::MakePolicyLoss(type, values);
}

// The recorded groups, a prompt with its completions each.
PackedBatch GroupsOf(Json data, size_t group_size) {
  PackedBatch packed;
  const std::vector<Json> prompts = Items(data["prompts"]);
  const std::vector<Json> completions = Items(data["completions"]);
  int32_t prefix = -1;
  for (size_t i = 0; i < completions.size(); ++i) {
    if (i % group_size == 0) {
      prefix = packed.AppendPrompt(Ints(prompts.at(i / group_size)));
    }
    packed.AppendCompletion(prefix, Ints(completions[i]));
  }
  return packed;
}

// The values of scored tokens; the file's rows are padded.
std::vector<double> FromRows(Json rows, const PackedBatch& packed) {
  const std::vector<int64_t> offsets = packed.ScoredOffsets();
  std::vector<double> tokens;
  for (int32_t s = 0; s < packed.sequences; ++s) {
    const std::vector<double> row =
        Numbers(Items(rows).at(static_cast<size_t>(s)));
    tokens.insert(tokens.end(), row.begin(),
                  row.begin() + (offsets[s + 1] - offsets[s]));
  }
  return tokens;
}

absl::StatusOr<std::vector<double>> AdvantagesOf(Json config, Json rewards) {
  ALIGN_ASSIGN_OR_RETURN(
      const train::NamedAdvantage estimator,
      train::MakeAdvantage(
          "group",
          {{"scale_rewards", TextOr(config, "scale_rewards", "group")}}));
  losses::AdvantageInputs in;
  in.rewards = Array(rewards);
  const auto size = static_cast<int64_t>(Number(config["num_generations"]));
  in.offsets = {0};
  for (int64_t i = 0; i < in.rewards.size(); ++i) {
    in.groups.push_back(i / size);
    in.offsets.push_back(i + 1);
  }
  const Eigen::ArrayXd advantages = estimator.estimator(in).advantages;
  return std::vector<double>(advantages.begin(), advantages.end());
}

absl::StatusOr<train::PolicyBatch> BatchOf(const OracleFile& file,
                                           const Model& policy, Json golden,
                                           Case& result) {
  const Json config = file.root["meta"]["config"], data = file.root["data"];
  const double temperature = NumberOr(config, "temperature", 1);
  train::PolicyBatch batch;
  batch.packed =
      GroupsOf(data, static_cast<size_t>(Number(config["num_generations"])));
  for (int32_t s = 0; s < batch.packed.sequences; ++s) {
    batch.ids.push_back(std::to_string(s));
  }
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<float> old,
      train::FrozenReference(policy, temperature)(batch.packed));
  batch.old_log_probs.assign(old.begin(), old.end());
  result.Near("old log-probs", batch.old_log_probs,
              FromRows(golden["old_per_token_logps"], batch.packed), kFloat);
  if (NumberOr(config, "beta", 0) > 0) {
    ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> reference,
                           LoadWeights(file, "reference", false));
    ALIGN_ASSIGN_OR_RETURN(
        const std::vector<float> scores,
        train::FrozenReference(*reference, temperature)(batch.packed));
    batch.reference_log_probs.assign(scores.begin(), scores.end());
    result.Near("reference log-probs", batch.reference_log_probs,
                FromRows(golden["ref_per_token_logps"], batch.packed), kFloat);
  }
  ALIGN_ASSIGN_OR_RETURN(batch.advantages,
                         AdvantagesOf(config, data["rewards"]));
  result.Near("advantages", batch.advantages, Numbers(golden["advantages"]),
              kFloat);
  return batch;
}

// Two f32 programs drift apart by rounding: the tolerance grows tenfold over
// the run.
void CheckIterations(Json golden, const Trainer& trainer, Case& result) {
  const std::vector<Json> steps = Items(golden["iterations"]);
  result.Near("iterations", static_cast<double>(trainer.reports.size()),
              static_cast<double>(steps.size()), {});
  for (size_t i = 0; i < std::min(steps.size(), trainer.reports.size()); ++i) {
    const train::StepReport& report = trainer.reports[i];
    const double drift = std::pow(
        10.0, static_cast<double>(i) /
                  std::max(1.0, static_cast<double>(steps.size()) - 1));
    const Tolerance tolerance = {.absolute = 1e-5 * drift,
                                 .relative = 1e-5 * drift};
    const std::string at = " of step " + std::to_string(i);
    result.Near("loss" + at, report.loss, Number(steps[i]["loss"]), tolerance);
    result.Near("gradient norm" + at, report.grad_norm,
                Number(steps[i]["grad_norm_before_clip"]),
                {.relative = 1e-5 * drift});
    const simdjson::dom::object metrics = steps[i]["metrics"];
    for (const auto& [key, wanted] : metrics) {
      const auto got = report.metrics.find(std::string(key));
      if (got == report.metrics.end()) continue;
      result.Near(std::string(key) + at, got->second, Number(wanted),
                  tolerance);
    }
  }
}

}  // namespace

absl::Status RunGrpo(const OracleFile& file, Case& result) {
  const Json config = file.root["meta"]["config"];
  const Json golden = file.root["results"]["f32"];
  ALIGN_ASSIGN_OR_RETURN(Trainer trainer, MakeTrainer(file, Head::kTokens));
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPolicyLoss loss, LossOf(config));
  ALIGN_ASSIGN_OR_RETURN(const train::PolicyBatch batch,
                         BatchOf(file, *trainer.model, golden, result));
  const std::vector<train::PolicyBatch> batches(
      Items(golden["iterations"]).size(), batch);
  const train::PolicyObjectiveOptions options = {
      .temperature = NumberOr(config, "temperature", 1),
      .max_completion_length =
          static_cast<int64_t>(Number(config["max_completion_length"])),
      .entropy = true};
  ALIGN_RETURN_IF_ERROR(Train(
      train::BindPolicy(InOrder(batches), *trainer.model, loss, options, 1), 1,
      trainer));
  ALIGN_RETURN_IF_ERROR(train::CheckInitialRatios(trainer.reports.at(0)));
  CheckIterations(golden, trainer, result);
  CheckFinalParameters(golden, trainer, result);
  return absl::OkStatus();
}

}  // namespace align::oracle
