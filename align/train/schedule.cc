#include "align/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace align::train {
namespace {

constexpr std::pair<const char*, ScheduleKind> kNames[] = {
    {"constant", ScheduleKind::kConstant},
    {"constant_with_warmup", ScheduleKind::kConstant},
    {"linear", ScheduleKind::kLinear},
    {"cosine", ScheduleKind::kCosine},
    {"cosine_with_restarts", ScheduleKind::kCosineWithRestarts},
    {"cosine_with_min_lr", ScheduleKind::kCosineWithMinimum},
    {"polynomial", ScheduleKind::kPolynomial},
    {"inverse_sqrt", ScheduleKind::kInverseSqrt},
    {"warmup_stable_decay", ScheduleKind::kWarmupStableDecay},
};

bool NeedsTotal(ScheduleKind kind) {
  return kind != ScheduleKind::kConstant && kind != ScheduleKind::kInverseSqrt;
}

absl::Status CheckSteps(const ScheduleOptions& options) {
  for (const auto& [name, steps] :
       {std::pair("warmup_steps", options.warmup_steps),
        std::pair("total_steps", options.total_steps),
        std::pair("timescale", options.timescale),
        std::pair("decay_steps", options.decay_steps)}) {
    if (steps < 0) {
      return InvalidArgument(std::string("schedule: ") + name + " = " +
                             std::to_string(steps) +
                             "; expected a number of at least 0");
    }
  }
  if (NeedsTotal(options.kind) &&
      (options.total_steps == 0 ||
       options.warmup_steps > options.total_steps)) {
    return InvalidArgument(
        "schedule: total_steps = " + std::to_string(options.total_steps) +
        " with warmup_steps = " + std::to_string(options.warmup_steps) +
        "; expected the length of the run, at least the warm-up");
  }
  if (options.kind == ScheduleKind::kWarmupStableDecay &&
      options.decay_steps > options.total_steps - options.warmup_steps) {
    return InvalidArgument(
        "schedule: decay_steps = " + std::to_string(options.decay_steps) +
        "; expected at most the " +
        std::to_string(options.total_steps - options.warmup_steps) +
        " steps after the warm-up");
  }
  return absl::OkStatus();
}

absl::Status Check(const ScheduleOptions& options) {
  ALIGN_RETURN_IF_ERROR(CheckSteps(options));
  const auto refused = [](const char* name, double value,
                          const char* expected) {
    return InvalidArgument(std::string("schedule: ") + name + " = " +
                           std::to_string(value) + "; expected " + expected);
  };
  if (!(options.cycles >= 0) || std::isinf(options.cycles)) {
    return refused("cycles", options.cycles, "a finite number of at least 0");
  }
  if (!(options.power >= 0) || std::isinf(options.power)) {
    return refused("power", options.power, "a finite number of at least 0");
  }
  if (!(options.minimum >= 0 && options.minimum <= 1)) {
    return refused("minimum", options.minimum, "a share of the peak, 0 to 1");
  }
  if (!(options.end >= 0 && options.end < 1)) {
    return refused("end", options.end, "a share of the peak, below 1");
  }
  return absl::OkStatus();
}

double Cosine(double cycles, double progress) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * cycles * 2.0 * progress));
}

double Above(double minimum, double factor) {
  return factor * (1.0 - minimum) + minimum;
}

double WarmupStableDecay(const ScheduleOptions& options, int64_t step) {
  const int64_t decay_from = options.total_steps - options.decay_steps;
  if (step < options.warmup_steps) {
    return Above(
        options.minimum,
        static_cast<double>(step) / static_cast<double>(options.warmup_steps));
  }
  if (step < decay_from) return 1;
  if (step >= options.total_steps) return options.minimum;
  const double progress = static_cast<double>(step - decay_from) /
                          static_cast<double>(options.decay_steps);
  return Above(options.minimum, Cosine(options.cycles, progress));
}

double InverseSqrt(const ScheduleOptions& options, double step) {
  constexpr int64_t kWithoutWarmup = 10000;
  const auto timescale =
      static_cast<double>(options.timescale > 0      ? options.timescale
                          : options.warmup_steps > 0 ? options.warmup_steps
                                                     : kWithoutWarmup);
  const double shift = timescale - static_cast<double>(options.warmup_steps);
  return 1.0 / std::sqrt((step + shift) / timescale);
}

double Factor(const ScheduleOptions& options, int64_t step) {
  if (options.kind == ScheduleKind::kWarmupStableDecay) {
    return WarmupStableDecay(options, step);
  }
  const auto now = static_cast<double>(step);
  const auto warmup = static_cast<double>(options.warmup_steps);
  const auto total = static_cast<double>(options.total_steps);
  if (step < options.warmup_steps) return now / warmup;
  const double decay_steps = std::max(1.0, total - warmup);
  const double progress = (now - warmup) / decay_steps;
  switch (options.kind) {
    case ScheduleKind::kConstant:
    case ScheduleKind::kWarmupStableDecay:
      return 1;
    case ScheduleKind::kLinear:
      return std::max(0.0, (total - now) / decay_steps);
    case ScheduleKind::kCosine:
      return std::max(0.0, Cosine(options.cycles, progress));
    case ScheduleKind::kCosineWithRestarts:
      if (progress >= 1) return 0;
      return std::max(0.0,
                      Cosine(0.5, std::fmod(options.cycles * progress, 1.0)));
    case ScheduleKind::kCosineWithMinimum:
      return std::max(0.0,
                      Above(options.minimum, Cosine(options.cycles, progress)));
    case ScheduleKind::kPolynomial:
      if (step > options.total_steps) return options.end;
      return Above(options.end, std::pow(1 - progress, options.power));
    case ScheduleKind::kInverseSqrt:
      return InverseSqrt(options, now);
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
  std::string known;
  for (const auto& [name, kind] : kNames) {
    if (text == name) return kind;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  return InvalidArgument("schedule '" + text +
                         "' is unknown; expected one of " + known);
}

}  // namespace align::train
