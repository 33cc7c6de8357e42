#pragma once

#include "align/base/status.h"
#include "align/config/compare_context.h"

namespace align {

// Runs the stage that `context` names: reads what earlier stages left, writes
// its own output and, last of all, its record with `key`. A stage that was
// stopped or failed leaves no record. Errors name the stage.
absl::Status RunCompareStage(CompareContext& context, const std::string& key);

// The stages, one function each; what they read and write is said in
// compare_plan.h and above each definition.
absl::Status MakePrompts(CompareContext& context);
absl::Status TrainSft(CompareContext& context);
absl::Status MakePairs(CompareContext& context);
absl::Status TrainRewardModel(CompareContext& context);
absl::Status TrainDpo(CompareContext& context);
absl::Status TrainRso(CompareContext& context);
absl::Status TrainPpo(CompareContext& context);
absl::Status Evaluate(CompareContext& context, const std::string& method);

}  // namespace align
