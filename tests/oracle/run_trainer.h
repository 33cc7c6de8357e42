#pragma once

// What runs of every kind share: the model of a run.json, its optimizer, the
// loop, and the check of the weights it ends with.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "align/models/model.h"
#include "align/models/value_head.h"
#include "align/train/run_loop.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {

// Everything of a run but what its steps are made of.
struct Trainer {
  std::unique_ptr<Model> model;
  std::unique_ptr<ValueHead> value_head;  // on the model's trunk, or null
  std::vector<ParamStore*> stores;        // of both
  std::unique_ptr<train::Optimizer> optimizer;
  double max_grad_norm = 0;
  std::vector<train::StepReport> reports;
};

enum class Head { kTokens, kReward, kTokensAndValues };

// The model that config.json and the weights named `key` make; `reward`: as a
// sequence classifier with one label.
absl::StatusOr<std::unique_ptr<Model>> LoadWeights(const OracleFile& file,
                                                   const std::string& key,
                                                   bool reward);

// The initial policy with gradients, and the optimizer that `hyper` describes.
// kUnimplemented for one that the toolkit does not have.
absl::StatusOr<Trainer> MakeTrainer(const OracleFile& file, Head head);

// Yields copies of `batches`, which must outlive it.
template <class Batch>
train::Source<Batch> InOrder(const std::vector<Batch>& batches) {
  return [&batches,
          next = size_t{0}]() mutable -> absl::StatusOr<std::optional<Batch>> {
    if (next == batches.size()) return std::optional<Batch>();
    return std::optional<Batch>(batches[next++]);
  };
}

// RunLoop with the trainer's parts; keeps every report.
absl::Status Train(const train::MicroSteps& micro_steps, int64_t accumulation,
                   Trainer& trainer);

// Norms, first and last values of every parameter against final_params.
void CheckFinalParameters(Json golden, const Trainer& trainer, Case& result);

// Runs of kind "PPO (TRL v0.7.11 classic ...)", against the f32 block.
absl::Status RunPpo(const OracleFile& file, Case& result);
// Runs of kind "GRPO", against the f32 block.
absl::Status RunGrpo(const OracleFile& file, Case& result);

}  // namespace align::oracle
