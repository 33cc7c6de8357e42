#pragma once

#include "align/base/status.h"
#include "align/cli/command.h"

namespace align::cli {

// Commands that look at models, data and losses without changing anything.

inline constexpr char kSampleUsage[] =
    "align sample MODEL_DIR (--prompt TEXT | --prompts FILE) [flags]";
absl::Status SampleCommand(const Arguments& arguments);

inline constexpr char kEvalUsage[] =
    "align eval MODEL_DIR RECORDS [--each] [--max-records N]";
absl::Status EvalCommand(const Arguments& arguments);

inline constexpr char kShowBatchUsage[] =
    "align show-batch MODEL_DIR RECORDS [--batch-size N]";
absl::Status ShowBatchCommand(const Arguments& arguments);

inline constexpr char kListUsage[] =
    "align list losses|models [NAME] [--markdown]";
absl::Status ListCommand(const Arguments& arguments);

}  // namespace align::cli
