#pragma once

#include <functional>
#include <vector>

#include "align/base/status.h"
#include "align/config/train_run.h"
#include "align/models/model.h"

// Method ppo of `align train`.

namespace align {

// The keys of method ppo: fills in defaults, or, for another method, refuses
// them. kInvalidArgument names the key.
absl::Status ResolvePpoConfig(pb::TrainConfig& config);

// Sets all of `run` but tokenizer and model, the policy. Sampling polls `stop`.
// Errors are those of the files and of the config, whose key they name.
absl::Status PreparePpo(const pb::TrainConfig& config,
                        std::function<bool()> stop, TrainRun& run);

// The models that method ppo holds beside `policy`, from their config.json.
absl::StatusOr<std::vector<HeldModel>> PpoModelsBeside(
    const pb::TrainConfig& config, const Model& policy);

}  // namespace align
