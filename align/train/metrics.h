#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "align/base/status.h"
#include "align/train/run_loop.h"

namespace align::train {

// One JSON object on one line: step, epoch (when `epoch` >= 0), loss,
// grad_norm, learning_rate, step_time in seconds, skipped (only when true), and
// the metrics under the names that TRL logs. Numbers that are not finite
// become null.
absl::StatusOr<std::string> MetricsLine(const StepReport& report,
                                        double epoch = -1);

struct MetricsFileOptions {
  int64_t every_steps = 1;
  // Epochs done after the step just reported; empty when unknown.
  std::function<double()> epoch;
};

// An observer that appends MetricsLine to `path`, flushed line by line. A file
// of an earlier run is continued: lines of steps after `first_step` are taken
// away first, so that a resumed run leaves one line a step. kInvalidArgument
// when the file cannot be read or written.
absl::StatusOr<Observer> MetricsFileObserver(const std::string& path,
                                             int64_t first_step,
                                             MetricsFileOptions options = {});

struct ProgressOptions {
  std::string title;           // "dpo": starts every line
  int64_t max_steps = 0;       // 0: unknown
  double seconds_between = 5;  // a line at least this often ...
  int64_t every_steps = 0;     // ... and after this many steps; 0: never
};

// An observer that prints "dpo 120/400 loss 0.61 ... 3.1 steps/s" through
// `print`, a line for the first step, the last, and in between as the options
// say. Skipped steps are marked.
Observer ProgressObserver(ProgressOptions options,
                          std::function<void(const std::string&)> print);

}  // namespace align::train
