// runs/*/run.json: ten optimizer steps from given weights through the product's
// objectives, losses, optimizer and loop, against the f32 block.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <set>

#include "align/models/model.h"
#include "align/models/safetensors.h"
#include "align/train/preference_objective.h"
#include "align/train/reward_objective.h"
#include "align/train/schedule.h"
#include "align/train/sft_objective.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

using train::MicroStep;
using train::StepReport;

// Everything of a run but what its steps are made of.
struct Trainer {
  std::unique_ptr<Model> model;
  std::unique_ptr<train::Optimizer> optimizer;
  double max_grad_norm = 0;
  std::vector<StepReport> reports;
};

// The model that config.json and one file of weights make; `reward`: as a
// sequence classifier with one label.
absl::StatusOr<std::unique_ptr<Model>> LoadWeights(const OracleFile& file,
                                                   const std::string& key,
                                                   bool reward) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(file.path).parent_path();
  const Json meta = file.root["meta"];
  ALIGN_ASSIGN_OR_RETURN(
      ModelConfig config,
      ReadModelConfig(
          (folder / Text(meta["model_config"])).parent_path().string()));
  if (reward) {
    config.architecture = Architecture::kLlamaForSequenceClassification;
    config.num_labels = 1;
  }
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                         CreateModel(config, Rng(0)));
  ALIGN_ASSIGN_OR_RETURN(
      const SafetensorsFile weights,
      SafetensorsFile::Open(
          (folder / Text(meta["weights"].at_key(key))).string()));
  for (size_t p = 0; p < model->params().specs().size(); ++p) {
    const std::string& name = model->params().specs()[p].name;
    const TensorInfo* tensor = weights.Find(name);
    if (tensor == nullptr) return NotFound(weights.path() + ": no " + name);
    ALIGN_RETURN_IF_ERROR(CopyToFloat(*tensor, model->params().values(p)));
  }
  return model;
}

// kUnimplemented when the run decays other parameters than matrices and tables.
absl::Status CheckDecay(Json hyper, const ParamStore& params) {
  const auto decayed = Find(hyper, "decayed_parameters");
  std::set<std::string> listed, matrices;
  if (decayed) {
    for (Json name : Items(*decayed)) listed.insert(Text(name));
  }
  for (const ParamSpec& spec : params.specs()) {
    if (spec.shape.size() >= 2) matrices.insert(spec.name);
  }
  if (Number(hyper["weight_decay"]) == 0 || listed == matrices) {
    return absl::OkStatus();
  }
  return Unimplemented("weight decay of other parameters than matrices");
}

absl::StatusOr<Trainer> MakeTrainer(const OracleFile& file, bool reward) {
  const Json hyper = file.root["meta"]["hyper"];
  if (Text(hyper["optimizer"]) != "torch.optim.AdamW") {
    return Unimplemented("optimizer " + Text(hyper["optimizer"]));
  }
  Trainer trainer;
  ALIGN_ASSIGN_OR_RETURN(trainer.model,
                         LoadWeights(file, "initial_policy", reward));
  ALIGN_RETURN_IF_ERROR(CheckDecay(hyper, trainer.model->params()));
  trainer.model->params().EnableGradients();
  ALIGN_ASSIGN_OR_RETURN(const train::ScheduleKind kind,
                         train::ParseScheduleKind(Text(hyper["schedule"])));
  ALIGN_ASSIGN_OR_RETURN(
      const train::LearningRateFactor factor,
      train::MakeSchedule({.kind = kind,
                           .warmup_steps = static_cast<int64_t>(
                               NumberOr(hyper, "num_warmup_steps", 0)),
                           .total_steps = static_cast<int64_t>(
                               NumberOr(hyper, "num_training_steps", 0))}));
  const std::vector<double> betas = Numbers(hyper["betas"]);
  trainer.optimizer = std::make_unique<train::Optimizer>(
      train::AdamWOptions{.learning_rate = Number(hyper["lr"]),
                          .beta1 = betas.at(0),
                          .beta2 = betas.at(1),
                          .epsilon = Number(hyper["eps"]),
                          .weight_decay = Number(hyper["weight_decay"])},
      factor, std::vector<ParamStore*>{&trainer.model->params()});
  trainer.max_grad_norm = NumberOr(hyper, "max_grad_norm", 0);
  return trainer;
}

// Runs RunLoop over `batches`, `accumulation` a step.
template <class Batch>
absl::Status Train(std::vector<Batch> batches, int64_t accumulation,
                   train::Objective<Batch> objective, Trainer& trainer) {
  size_t next = 0;
  const train::Source<Batch> source =
      [&]() -> absl::StatusOr<std::optional<Batch>> {
    if (next == batches.size()) return std::optional<Batch>();
    return std::optional<Batch>(batches[next++]);
  };
  const train::Observer observer =
      [&](const StepReport& report) -> absl::StatusOr<train::ObserverResult> {
    trainer.reports.push_back(report);
    return train::ObserverResult{};
  };
  return train::RunLoop({.accumulation = accumulation,
                         .max_grad_norm = trainer.max_grad_norm},
                        train::Bind<Batch>(source, std::move(objective)),
                        {&trainer.model->params()}, *trainer.optimizer,
                        {observer})
      .status();
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

void CheckFinalParameters(Json golden, const Trainer& trainer, Case& result) {
  // A step of Adam moves by the rate whatever the gradient's size, so that
  // rounding in a tiny gradient shows: a twentieth of one step.
  const double moved = 0.05 * trainer.optimizer->learning_rate();
  const Tolerance tolerance = {.absolute = std::max(5e-5, moved)};
  ParamStore& params = trainer.model->params();
  for (size_t p = 0; p < params.specs().size(); ++p) {
    const std::string& name = params.specs()[p].name;
    const auto wanted = Find(golden["final_params"], name);
    result.True(name + " in the file", wanted.has_value());
    if (!wanted) continue;
    const std::span<const float> values = params.values(p);
    double squares = 0;
    for (float value : values) squares += static_cast<double>(value) * value;
    const std::vector<double> first = Numbers((*wanted)["first8_flat"]);
    const std::vector<double> last = Numbers((*wanted)["last4_flat"]);
    result.Near(name + " norm", std::sqrt(squares), Number((*wanted)["norm"]),
                {.relative = 1e-5});
    result.Near(
        name,
        std::vector<double>(values.begin(), values.begin() + first.size()),
        first, tolerance);
    result.Near(name,
                std::vector<double>(values.end() - last.size(), values.end()),
                last, tolerance);
  }
}

void CheckAgainstFloat(const OracleFile& file, const Trainer& trainer,
                       Case& result) {
  const Json golden = file.root["results"]["f32"];
  CheckSteps(golden, trainer, result);
  CheckFinalParameters(golden, trainer, result);
}

absl::Status RunSft(const OracleFile& file, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(Trainer trainer, MakeTrainer(file, false));
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

absl::StatusOr<train::NamedPairLoss> PairLossOf(Json loss) {
  const std::vector<Json> names = Items(loss["loss_types"]);
  if (names.size() != 1) return Unimplemented("mixes of losses");
  const std::string name = Text(names[0]);
  if (name != "sigmoid" && name != "hinge" && name != "ipo") {
    return Unimplemented("loss " + name);
  }
  return train::MakePairLoss(name, {{"beta", ExactText(Number(loss["beta"]))}});
}

absl::Status RunPreference(const OracleFile& file, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(train::NamedPairLoss loss,
                         PairLossOf(file.root["meta"]["loss"]));
  ALIGN_ASSIGN_OR_RETURN(Trainer trainer, MakeTrainer(file, false));
  const std::unique_ptr<Model> reference = CloneModel(*trainer.model);
  std::vector<PreferenceBatch> batches;
  for (Json step : Items(file.root["data"]["steps"])) {
    batches.push_back(PairBatch(step));
  }
  ALIGN_RETURN_IF_ERROR(Train<PreferenceBatch>(
      batches, 1,
      train::PreferenceObjective(*trainer.model,
                                 train::FrozenReference(*reference), loss.loss,
                                 {.statistics = true, .entropy = true}),
      trainer));
  CheckAgainstFloat(file, trainer, result);
  return absl::OkStatus();
}

absl::Status RunReward(const OracleFile& file, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(Trainer trainer, MakeTrainer(file, true));
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
    reporter.Skip(
        "PPO runs: a value head with a bias on the policy's trunk, and decay "
        "of every parameter, are not covered");
  } else {
    reporter.Skip("runs of kind " + kind);
  }
}

}  // namespace align::oracle
