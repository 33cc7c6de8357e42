#pragma once

#include <functional>
#include <vector>

#include "align/base/status.h"
#include "align/config/train_run.h"
#include "align/models/model.h"

// Methods online_dpo, xpo and nash_md of `align train`: two replies to each
// prompt are sampled, scored by the rewards and set against each other.

namespace align {

// The keys of `online`: fills in defaults, or, for another method, refuses
// them. kInvalidArgument names the key.
absl::Status ResolveOnlineConfig(pb::TrainConfig& config);

// Sets all of `run` but tokenizer and model, the policy. Sampling polls `stop`.
// Errors are those of the files and of the config, whose key they name.
absl::Status PrepareOnline(const pb::TrainConfig& config,
                           std::function<bool()> stop, TrainRun& run);

// The models that these methods hold beside `policy`, from their config.json.
absl::StatusOr<std::vector<HeldModel>> OnlineModelsBeside(
    const pb::TrainConfig& config, const Model& policy);

}  // namespace align
