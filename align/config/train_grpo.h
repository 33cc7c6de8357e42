#pragma once

#include <functional>
#include <vector>

#include "align/base/status.h"
#include "align/config/train_run.h"
#include "align/models/model.h"

// Method grpo of `align train`: every policy loss that learns from groups of
// samples.

namespace align {

// The keys of method grpo: fills in defaults, or, for another method, refuses
// them. kInvalidArgument names the key.
absl::Status ResolveGrpoConfig(pb::TrainConfig& config);

// Sets all of `run` but tokenizer and model, the policy. Sampling polls `stop`.
// Errors are those of the files and of the config, whose key they name.
absl::Status PrepareGrpo(const pb::TrainConfig& config,
                         std::function<bool()> stop, TrainRun& run);

// The models that method grpo holds beside `policy`, from their config.json.
absl::StatusOr<std::vector<HeldModel>> GrpoModelsBeside(
    const pb::TrainConfig& config, const Model& policy);

}  // namespace align
