#pragma once

#include <functional>
#include <string>

#include "align/base/precision.h"
#include "align/base/status.h"
#include "align/cli/command.h"

namespace align::cli {

// Runs `job` and, where the flags --profile and --trace FILE ask for it, says
// where its time went: prints the table of align/base/profile.h beside what
// this machine does at best in `precision`, and writes FILE for Chrome. A job
// that was stopped is measured too, one that failed is not. Errors: those of
// the job; kInvalidArgument, before the job starts, when FILE cannot be made.
absl::Status RunProfiled(const Arguments& arguments, Precision precision,
                         const std::function<absl::Status()>& job);

}  // namespace align::cli
