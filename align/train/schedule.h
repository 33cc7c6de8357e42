#pragma once

#include <cstdint>
#include <string>

#include "align/base/status.h"
#include "align/train/optimizer.h"

namespace align::train {

enum class ScheduleKind { kConstant, kLinear, kCosine };

struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kConstant;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;     // of the run, warm-up included; not for constant
  double cosine_cycles = 0.5;  // 0.5: one descent from 1 to 0
};

// The schedules of transformers (optimization.py), to its rounding: the factor
// rises from 0 at step 0 to 1 at step warmup_steps, then is 1 (constant), falls
// linearly to 0 at total_steps, or is (1 + cos(2 pi cycles progress)) / 2.
// kInvalidArgument for a negative number of steps or cycles, and for linear and
// cosine without total_steps or with a warm-up longer than that.
absl::StatusOr<LearningRateFactor> MakeSchedule(const ScheduleOptions& options);

// "constant", "linear" or "cosine"; kInvalidArgument names them.
absl::StatusOr<ScheduleKind> ParseScheduleKind(const std::string& text);

}  // namespace align::train
