#pragma once

#include <functional>
#include <string>

#include "align/base/status.h"
#include "align/config/train_run.h"
#include "align/train/preference_objective.h"

namespace align {

// Methods that learn from records: sft, reward, preference, unpaired.

// Whether the method, any, takes `loss`, several of it and their weights:
// kInvalidArgument names what it does not.
absl::Status CheckLossKeys(const pb::TrainConfig& config);

// Fills in the default of `loss` (nll, sigmoid, kto) and checks it.
// kInvalidArgument names what a loss does not take; other methods are left
// alone.
absl::Status ResolveLosses(pb::TrainConfig& config);

// The weighted sum of config.loss, losses on pairs. kInvalidArgument names what
// a loss does not take.
absl::StatusOr<train::NamedPairLoss> PairLossOf(const pb::TrainConfig& config);

// Whether the run scores a frozen copy of its start, or config.reference. The
// config is resolved.
bool HoldsReference(const pb::TrainConfig& config);

// The directory of a run, and whether it is to stop (kCancelled).
struct RunPlace {
  std::string out;
  std::function<bool()> stop;
};

// Reads data.train and makes the micro-steps of `run`, whose model and
// tokenizer are there, and how their place is saved: where the loader stands
// and the running moments of the loss. With precompute_reference, scores the
// data. Errors are those of reading, tokenising and PrepareReference;
// kInvalidArgument when the data lack what the loss needs.
absl::Status PrepareFeed(const pb::TrainConfig& config, const RunPlace& place,
                         TrainRun& run);

}  // namespace align
