#include "align/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace align::train {
namespace {

absl::Status Check(const ScheduleOptions& options) {
  if (options.warmup_steps < 0 || options.total_steps < 0) {
    return InvalidArgument(
        "schedule: warmup_steps = " + std::to_string(options.warmup_steps) +
        ", total_steps = " + std::to_string(options.total_steps) +
        "; expected numbers of at least 0");
  }
  if (!(options.cosine_cycles >= 0) || std::isinf(options.cosine_cycles)) {
    return InvalidArgument(
        "schedule: cosine_cycles = " + std::to_string(options.cosine_cycles) +
        "; expected a finite number of at least 0");
  }
  if (options.kind != ScheduleKind::kConstant &&
      (options.total_steps == 0 ||
       options.warmup_steps > options.total_steps)) {
    return InvalidArgument(
        "schedule: total_steps = " + std::to_string(options.total_steps) +
        " with warmup_steps = " + std::to_string(options.warmup_steps) +
        "; expected the length of the run, at least the warm-up");
  }
  return absl::OkStatus();
}

double Factor(const ScheduleOptions& options, int64_t step) {
  const auto now = static_cast<double>(step);
  const auto warmup = static_cast<double>(options.warmup_steps);
  const auto total = static_cast<double>(options.total_steps);
  if (step < options.warmup_steps) return now / warmup;
  const double decay_steps = std::max(1.0, total - warmup);
  switch (options.kind) {
    case ScheduleKind::kConstant:
      return 1;
    case ScheduleKind::kLinear:
      return std::max(0.0, (total - now) / decay_steps);
    case ScheduleKind::kCosine: {
      const double progress = (now - warmup) / decay_steps;
      return std::max(
          0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * options.cosine_cycles *
                                     2.0 * progress)));
    }
  }
  return 1;
}

}  // namespace

absl::StatusOr<LearningRateFactor> MakeSchedule(
    const ScheduleOptions& options) {
  ALIGN_RETURN_IF_ERROR(Check(options));
  return LearningRateFactor(
      [options](int64_t step) { return Factor(options, step); });
}

absl::StatusOr<ScheduleKind> ParseScheduleKind(const std::string& text) {
  if (text == "constant") return ScheduleKind::kConstant;
  if (text == "linear") return ScheduleKind::kLinear;
  if (text == "cosine") return ScheduleKind::kCosine;
  return InvalidArgument("schedule '" + text +
                         "' is unknown; expected constant, linear or cosine");
}

}  // namespace align::train
