#include "tests/oracle/run_trainer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <span>

#include "align/models/safetensors.h"
#include "align/train/schedule.h"

namespace align::oracle {
namespace {

std::string WeightsPath(const OracleFile& file, const std::string& key) {
  const Json weights = file.root["meta"]["weights"];
  return (std::filesystem::path(file.path).parent_path() /
          Text(weights.at_key(key)))
      .string();
}

// Whether the run also decays norms and biases; kUnimplemented when it decays
// neither all parameters nor exactly the matrices and tables.
absl::StatusOr<bool> DecaysVectors(Json hyper,
                                   const std::vector<ParamStore*>& stores) {
  if (TextOr(hyper, "decay_applies_to", "").starts_with("all parameters")) {
    return true;
  }
  const auto decayed = Find(hyper, "decayed_parameters");
  std::set<std::string> listed, all, matrices;
  if (decayed) {
    for (Json name : Items(*decayed)) listed.insert(Text(name));
  }
  for (const ParamStore* store : stores) {
    for (const ParamSpec& spec : store->specs()) {
      all.insert(spec.name);
      if (spec.shape.size() >= 2) matrices.insert(spec.name);
    }
  }
  if (Number(hyper["weight_decay"]) == 0 || listed == matrices) return false;
  if (listed == all) return true;
  return Unimplemented("weight decay of some vectors or matrices only");
}

void CheckValues(const std::string& name, std::span<const float> values,
                 Json wanted, Tolerance tolerance, Case& result) {
  double squares = 0;
  for (float value : values) squares += static_cast<double>(value) * value;
  const std::vector<double> first = Numbers(wanted["first8_flat"]);
  const std::vector<double> last = Numbers(wanted["last4_flat"]);
  result.Near(name + " norm", std::sqrt(squares), Number(wanted["norm"]),
              {.relative = 1e-5});
  result.Near(
      name, std::vector<double>(values.begin(), values.begin() + first.size()),
      first, tolerance);
  result.Near(name,
              std::vector<double>(values.end() - last.size(), values.end()),
              last, tolerance);
}

}  // namespace

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
  ALIGN_ASSIGN_OR_RETURN(const SafetensorsFile weights,
                         SafetensorsFile::Open(WeightsPath(file, key)));
  for (size_t p = 0; p < model->params().specs().size(); ++p) {
    const std::string& name = model->params().specs()[p].name;
    const TensorInfo* tensor = weights.Find(name);
    if (tensor == nullptr) return NotFound(weights.path() + ": no " + name);
    ALIGN_RETURN_IF_ERROR(CopyToFloat(*tensor, model->params().values(p)));
  }
  return model;
}

absl::StatusOr<Trainer> MakeTrainer(const OracleFile& file, Head head) {
  Trainer trainer;
  ALIGN_ASSIGN_OR_RETURN(trainer.model, LoadWeights(file, "initial_policy",
                                                    head == Head::kReward));
  trainer.stores = {&trainer.model->params()};
  if (head == Head::kTokensAndValues) {
    trainer.value_head =
        std::make_unique<ValueHead>(trainer.model->config().hidden_size);
    ALIGN_RETURN_IF_ERROR(LoadValueHead(WeightsPath(file, "initial_policy"),
                                        *trainer.value_head));
    trainer.stores.push_back(&trainer.value_head->params());
  }
  for (ParamStore* store : trainer.stores) store->EnableGradients();
  const Json hyper = file.root["meta"]["hyper"];
  if (Text(hyper["optimizer"]) != "torch.optim.AdamW") {
    return Unimplemented("optimizer " + Text(hyper["optimizer"]));
  }
  ALIGN_ASSIGN_OR_RETURN(const bool decay_vectors,
                         DecaysVectors(hyper, trainer.stores));
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
      train::OptimizerOptions{.learning_rate = Number(hyper["lr"]),
                              .beta1 = betas.at(0),
                              .beta2 = betas.at(1),
                              .epsilon = Number(hyper["eps"]),
                              .weight_decay = Number(hyper["weight_decay"]),
                              .decay_vectors = decay_vectors},
      factor, trainer.stores);
  trainer.max_grad_norm = NumberOr(hyper, "max_grad_norm", 0);
  return trainer;
}

absl::Status Train(const train::MicroSteps& micro_steps, int64_t accumulation,
                   Trainer& trainer) {
  const train::Observer observer = [&](const train::StepReport& report)
      -> absl::StatusOr<train::ObserverResult> {
    trainer.reports.push_back(report);
    return train::ObserverResult{};
  };
  return train::RunLoop({.accumulation = accumulation,
                         .max_grad_norm = trainer.max_grad_norm},
                        micro_steps, trainer.stores, *trainer.optimizer,
                        {observer})
      .status();
}

void CheckFinalParameters(Json golden, const Trainer& trainer, Case& result) {
  // A step of Adam moves by the rate whatever the gradient's size, so that
  // rounding in a tiny gradient shows: a twentieth of one step.
  const double moved = 0.05 * trainer.optimizer->learning_rate();
  const Tolerance tolerance = {.absolute = std::max(5e-5, moved)};
  for (ParamStore* store : trainer.stores) {
    for (size_t p = 0; p < store->specs().size(); ++p) {
      const std::string& name = store->specs()[p].name;
      const auto wanted = Find(golden["final_params"], name);
      result.True(name + " in the file", wanted.has_value());
      if (wanted)
        CheckValues(name, store->values(p), *wanted, tolerance, result);
    }
  }
}

}  // namespace align::oracle
