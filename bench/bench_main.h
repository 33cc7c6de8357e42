#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>
#include <vector>

#include "align/base/status.h"

namespace align::bench {

// The value of --name=VALUE or --name VALUE, the last of several, which leave
// the arguments; without any, `value`.
std::string TakeFlag(const std::string& name, std::string value,
                     std::vector<char*>& arguments);

// The main of a bench that runs on a model: takes --model NAME (as BenchModel
// does; default "small") out of the arguments, leaves the others to Google
// Benchmark, lets `add` register what it measures on that model, and runs it.
// Prints how matmul rows are computed, so that results say what they are of.
// With --profile it calls `profile`, where there is one, and nothing else.
using OnModel = std::function<absl::Status(const std::string& model)>;
int RunModelBenchmarks(std::vector<char*> arguments, const OnModel& add,
                       const OnModel& profile = nullptr);

// A counter of work: `per_iteration` units, shown a second with an SI prefix.
benchmark::Counter Rate(double per_iteration);

}  // namespace align::bench
