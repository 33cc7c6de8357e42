// runs/*/run.json: ten optimizer steps from given weights through the product's
// objectives, losses, optimizer and loop, against the f32 block.

#include <algorithm>
#include <cmath>
#include <memory>

#include "align/train/preference_objective.h"
#include "align/train/reward_objective.h"
#include "align/train/sft_objective.h"
#include "tests/oracle/run_trainer.h"
#include "tests/oracle/trl_pair_loss.h"

namespace align::oracle {
namespace {

using train::StepReport;

// Trains on `batches`, `accumulation` a step.
template <class Batch>
absl::Status Train(const std::vector<Batch>& batches, int64_t accumulation,
                   train::Objective<Batch> objective, Trainer& trainer) {
  return Train(train::Bind<Batch>(InOrder(batches), std::move(objective)),
               accumulation, trainer);
}

PreferenceBatch PairBatch(Json pairs) {
  PreferenceBatch batch;
  for (Json pair : Items(pairs)) {
    const int32_t prompt = batch.packed.AppendPrompt(Ints(pair["prompt_ids"]));
    batch.packed.AppendCompletion(prompt, Ints(pair["chosen_ids"]));
    batch.packed.AppendCompletion(prompt, Ints(pair["rejected_ids"]));
    batch.ids.push_back(std::to_string(batch.ids.size()));
  }
  return batch;
}

// Loss, gradient norm, rate and metrics of every step. Two f32 programs drift
// apart by rounding: the tolerance grows tenfold over the run.
void CheckSteps(Json golden, const Trainer& trainer, Case& result) {
  const std::vector<Json> steps = Items(golden["steps"]);
  result.Near("steps", static_cast<double>(trainer.reports.size()),
              static_cast<double>(steps.size()), {});
  for (size_t i = 0; i < std::min(steps.size(), trainer.reports.size()); ++i) {
    const StepReport& report = trainer.reports[i];
    const double drift = std::pow(
        10.0, static_cast<double>(i) / static_cast<double>(steps.size() - 1));
    const std::string at = " of step " + std::to_string(i);
    result.Near("loss" + at, report.loss, Number(steps[i]["loss"]), kFloat);
    result.Near("gradient norm" + at, report.grad_norm,
                Number(steps[i]["grad_norm_before_clip"]),
                {.relative = 1e-5 * drift});
    result.Near("learning rate" + at, report.learning_rate,
                Number(steps[i]["lr"]), kDouble);
    // Reward models give their accuracy beside the loss, DPO a set of metrics.
    const Json metrics = Find(steps[i], "metrics").value_or(steps[i]);
    for (const char* name :
         {"rewards/chosen", "rewards/rejected", "rewards/margins",
          "rewards/accuracies", "logps/chosen", "logps/rejected",
          "logits/chosen", "logits/rejected", "entropy", "accuracy"}) {
      const auto wanted = Find(metrics, name);
      const auto got = report.metrics.find(name);
      if (!wanted || got == report.metrics.end()) continue;
      result.Near(name + at, got->second, Number(*wanted),
                  {.absolute = 1e-5 * drift, .relative = 1e-5 * drift});
    }
  }
}

void CheckAgainstFloat(const OracleFile& file, const Trainer& trainer,
                       Case& result) {
  const Json golden = file.root["results"]["f32"];
  CheckSteps(golden, trainer, result);
  CheckFinalParameters(golden, trainer, result);
}

absl::Status RunSft(const OracleFile& file, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(Trainer trainer, MakeTrainer(file, Head::kTokens));
  std::vector<SftBatch> batches;
  for (Json step : Items(file.root["data"]["steps"])) {
    for (Json micro : Items(step)) {
      SftBatch batch;
      for (Json row : Items(micro)) {
        batch.packed.AppendCompletion(
            batch.packed.AppendPrompt(Ints(row["prompt_ids"])),
            Ints(row["completion_ids"]));
        batch.ids.push_back(std::to_string(batch.ids.size()));
      }
      batches.push_back(std::move(batch));
    }
  }
  const auto accumulation =
      static_cast<int64_t>(NumberOr(file.root["meta"], "grad_accumulation", 1));
  ALIGN_RETURN_IF_ERROR(Train<SftBatch>(
      batches, accumulation, train::SftObjective(*trainer.model), trainer));
  CheckAgainstFloat(file, trainer, result);
  return absl::OkStatus();
}

absl::Status RunPreference(const OracleFile& file, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<losses::PairLossTerm> terms,
      TermsFromTrl(file.root["meta"]["loss"], TrlVersion::kFrom1));
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss,
                         train::MakePairLoss(terms));
  ALIGN_ASSIGN_OR_RETURN(Trainer trainer, MakeTrainer(file, Head::kTokens));
  const std::unique_ptr<Model> reference = CloneModel(*trainer.model);
  std::vector<PreferenceBatch> batches;
  for (Json step : Items(file.root["data"]["steps"])) {
    batches.push_back(PairBatch(step));
  }
  ALIGN_RETURN_IF_ERROR(Train<PreferenceBatch>(
      batches, 1,
      train::PerMicroBatch(train::PreferenceObjective(
          *trainer.model, train::FrozenReference(*reference), loss,
          {.scores = {.statistics = true, .entropy = true}})),
      trainer));
  CheckAgainstFloat(file, trainer, result);
  return absl::OkStatus();
}

absl::Status RunReward(const OracleFile& file, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(Trainer trainer, MakeTrainer(file, Head::kReward));
  const auto margins = Find(file.root["data"], "margins");
  std::vector<PreferenceBatch> batches;
  for (Json step : Items(file.root["data"]["steps"])) {
    PreferenceBatch batch = PairBatch(step);
    if (margins) batch.margins = Numbers(margins->at(batches.size()));
    batches.push_back(std::move(batch));
  }
  const double center =
      NumberOr(file.root["meta"], "center_rewards_coefficient", 0);
  ALIGN_RETURN_IF_ERROR(Train<PreferenceBatch>(
      batches, 1,
      train::RewardObjective(
          *trainer.model,
          train::BradleyTerry({.center_rewards_coefficient = center})),
      trainer));
  CheckAgainstFloat(file, trainer, result);
  return absl::OkStatus();
}

}  // namespace

void CheckRun(const OracleFile& file, Reporter& reporter) {
  const std::string kind = Text(file.root["meta"]["kind"]);
  const auto run = [&](absl::Status (*steps)(const OracleFile&, Case&)) {
    reporter.Run("f32", kind,
                 [&](Case& result) { return steps(file, result); });
  };
  if (kind == "SFT") {
    run(RunSft);
  } else if (kind == "DPO") {
    run(RunPreference);
  } else if (kind == "reward model") {
    run(RunReward);
  } else if (kind.starts_with("PPO")) {
    run(RunPpo);
  } else if (kind.starts_with("GRPO")) {
    run(RunGrpo);
  } else {
    reporter.Skip("runs of kind " + kind);
  }
}

}  // namespace align::oracle
