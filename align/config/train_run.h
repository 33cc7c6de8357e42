#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/models/model.h"
#include "align/models/model_config.h"
#include "align/text/tokenizer.h"
#include "align/train/checkpoint.h"
#include "align/train/run_loop.h"

namespace align::pb {
class TrainConfig;
}  // namespace align::pb

namespace align {

// What a training run is made of, whatever its method: where its micro-steps
// come from and how that place is saved and found again. The functions own what
// they refer to, besides `model`.
struct TrainRun {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Model> model;           // what becomes model/
  std::vector<train::NamedStore> stores;  // of all that is trained
  train::MicroSteps micro_steps;
  std::function<double()> epoch;  // passes over the data so far
  // Whether a checkpoint can be taken after the step just done; empty: always.
  std::function<bool()> resumable;
  std::function<void(train::CheckpointState&)> save;
  std::function<absl::Status(const train::CheckpointState&)> restore;
  // Of the first step of a process; empty: none.
  std::function<absl::Status(const train::StepReport&)> check_first_step;
  // Writes what belongs beside model/ into the run's directory; empty: nothing.
  std::function<absl::Status(const std::string& out)> save_beside;
};

// The directory of the tokenizer, and how results are written.
std::string TokenizerOf(const pb::TrainConfig& config);
WeightFormat WeightFormatOf(const pb::TrainConfig& config);

// A model of a run, for the account of its memory; `copies` of its values are
// held: TrainedCopies when it is trained, else 1.
struct HeldModel {
  std::string role;
  int64_t parameters = 0;
  int64_t copies = 1;
  std::optional<ModelConfig> config;  // of a model with weights of its own
  int64_t packed_bytes = 0;           // of kept copies: see PackedBytes
};

// A line for each, "policy: 264320 parameters, 5 MB for weights, gradients and
// moments, 1 MB for packed copies", and one for their sum and what is
// available.
std::string DescribeMemory(const std::vector<HeldModel>& held);

}  // namespace align
