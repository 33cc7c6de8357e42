#pragma once

// What preference and unpaired training compare with: `reference`,
// `precompute_reference` and `reference_cache` of a config.

#include <functional>
#include <string>

#include "align/base/status.h"
#include "align/config/train_run.h"
#include "align/models/model.h"
#include "align/train/reference.h"
#include "align/train/run_loop.h"

namespace align {

// Refuses the keys by name where nothing reads them; `holds`: HoldsReference.
absl::Status CheckReferenceKeys(const pb::TrainConfig& config, bool holds);

// Scores what the batches have, before training.
using ScoreBeforehand =
    std::function<absl::Status(const train::Source<PackedBatch>&)>;

struct RunReference {
  train::ReferenceLogProbs log_probs;
  // With precompute_reference: to be called, and let go of, before the first
  // step, since it may hold the model. Else empty.
  ScoreBeforehand score;
};

// The reference of a run that compares with one: config.reference or the start,
// which `policy` still is and which must outlive the result. Log-probs that are
// scored beforehand stay in config.reference_cache, or else in
// `out`/reference_log_probs. Errors are those of loading and ReferenceCache's.
absl::StatusOr<RunReference> PrepareReference(const pb::TrainConfig& config,
                                              const std::string& out,
                                              std::function<bool()> stop,
                                              const Model& policy);

// What training holds of it.
absl::StatusOr<HeldModel> HeldRunReference(const pb::TrainConfig& config,
                                           const Model& policy);

}  // namespace align
