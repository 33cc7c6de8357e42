#pragma once

#include <cstdint>
#include <string>

#include "align/base/status.h"
#include "align/train/optimizer.h"

namespace align::train {

enum class ScheduleKind {
  kConstant,
  kLinear,
  kCosine,
  kCosineWithRestarts,
  kCosineWithMinimum,
  kPolynomial,
  kInverseSqrt,
  kWarmupStableDecay,
};

struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kConstant;
  int64_t warmup_steps = 0;
  // Of the run, warm-up included; not read by constant and inverse_sqrt.
  int64_t total_steps = 0;
  // Cosines: 0.5 is one descent from 1 to 0; with restarts, whole periods.
  double cycles = 0.5;
  // What cosine_with_min_lr and warmup_stable_decay fall to, as a share of the
  // peak; the latter also rises from it.
  double minimum = 0;
  double power = 1;  // polynomial
  double end = 0;    // polynomial: where it ends, as a share of the peak
  // inverse_sqrt: 0: warmup_steps, or 10,000 without a warm-up.
  int64_t timescale = 0;
  int64_t decay_steps = 0;  // warmup_stable_decay: the last steps of the run
};

// The schedules of transformers (optimization.py), to its rounding: the factor
// rises from 0 at step 0 to 1 at step w = warmup_steps; then, with p the share
// of the steps after w that is done, it is
//   constant             1
//   linear               1 - p
//   cosine               (1 + cos(2 pi cycles p)) / 2
//   cosine_with_restarts (1 + cos(pi frac(cycles p))) / 2
//   cosine_with_min_lr   minimum + (1 - minimum) * cosine
//   polynomial           end + (1 - end) (1 - p)^power
//   inverse_sqrt         1 / sqrt((step + timescale - w) / timescale)
//   warmup_stable_decay  1 until the last decay_steps, over which it falls by
//                        cosine_with_min_lr (Hu et al. 2024, section 4)
// and after total_steps it stays where it ended, but for cosine and
// cosine_with_min_lr, which go on as written. kInvalidArgument names an option
// that is out of range.
absl::StatusOr<LearningRateFactor> MakeSchedule(const ScheduleOptions& options);

// The names above, and "constant_with_warmup", which is constant too;
// kInvalidArgument lists them.
absl::StatusOr<ScheduleKind> ParseScheduleKind(const std::string& text);

}  // namespace align::train
