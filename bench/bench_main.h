#pragma once

#include <benchmark/benchmark.h>

#include <string>

#include "align/base/status.h"

namespace align::bench {

// The main of a bench that runs on a model: takes --model NAME (as BenchModel
// does; default "small") out of the arguments, leaves the others to Google
// Benchmark, lets `add` register what it measures on that model, and runs it.
// Prints how matmul rows are computed, so that results say what they are of.
// With --profile it calls `profile`, where that is not null, and nothing else.
int RunModelBenchmarks(
    int argc, char** argv, absl::Status (*add)(const std::string& model),
    absl::Status (*profile)(const std::string& model) = nullptr);

// A counter of work: `per_iteration` units, shown a second with an SI prefix.
benchmark::Counter Rate(double per_iteration);

}  // namespace align::bench
