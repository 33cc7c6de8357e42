#pragma once

#include <vector>

#include "align/base/status.h"
#include "align/cli/command.h"

namespace align::cli {

inline constexpr char kBenchUsage[] =
    "align bench MODEL_DIR [DATA] [--gold REWARD] [--seeds N] [flags]";

// --gold, --seeds, --json and a flag for every number of bench::Settings.
std::vector<Flag> BenchFlags();

// Prints what DPO and PPO cost on a model: RunBench. DATA are records of
// preference pairs or of prompts.
absl::Status BenchCommand(const Arguments& arguments);

}  // namespace align::cli
