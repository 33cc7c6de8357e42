#pragma once

#include <functional>
#include <vector>

#include "align/base/status.h"
#include "align/config/train_run.h"
#include "align/models/model.h"

// Method gkd of `align train`: distillation of a teacher into the policy, on
// replies of records, of the teacher or of the policy itself.

namespace align {

// The keys of method gkd: fills in defaults, or, for another method, refuses
// them. kInvalidArgument names the key.
absl::Status ResolveGkdConfig(pb::TrainConfig& config);

// Sets all of `run` but tokenizer and model, the student. Sampling polls
// `stop`. Errors are those of the files and of the config, whose key they name:
// a teacher whose ids mean something else than the student's is one.
absl::Status PrepareGkd(const pb::TrainConfig& config,
                        std::function<bool()> stop, TrainRun& run);

// The models that method gkd holds beside the policy, from their config.json.
absl::StatusOr<std::vector<HeldModel>> GkdModelsBeside(
    const pb::TrainConfig& config);

}  // namespace align
