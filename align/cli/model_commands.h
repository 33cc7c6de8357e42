#pragma once

#include "align/base/status.h"
#include "align/cli/command.h"

namespace align::cli {

// Commands on model directories.

inline constexpr char kShowUsage[] =
    "align show MODEL_DIR [--batch N] [--length N] [--rank N] [--target NAMES]";
absl::Status ShowCommand(const Arguments& arguments);

inline constexpr char kMergeUsage[] =
    "align merge ADAPTER_DIR --out DIR [--base DIR] [--format f32|bf16]";
absl::Status MergeCommand(const Arguments& arguments);

}  // namespace align::cli
