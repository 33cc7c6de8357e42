#pragma once

#include <functional>
#include <string>

#include "align/report/event_file.h"
#include "align/train/run_loop.h"

namespace align {

// An observer that writes every step into a new event file in `directory` for
// TensorBoard: loss, grad_norm, learning_rate and the metrics, each under
// "train/" as transformers' callback does. A skipped step leaves out its loss
// and gradient norm. `clock` gives seconds since 1970 and is called once a
// step. Errors are those of EventFile.
absl::StatusOr<train::Observer> EventFileObserver(
    const std::string& directory, const EventFileOptions& options,
    std::function<double()> clock);

}  // namespace align
