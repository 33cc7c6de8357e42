#pragma once

#include <functional>
#include <string>

#include "align/base/status.h"

namespace align::bench {

struct ProcessResult {
  std::string bytes;       // what the work gave
  double peak_rss_mb = 0;  // of its process alone, 2^20 bytes
};

// Runs `work` in a child process and waits for it, so that its peak memory is
// its own and nothing that it allocated stays. The work's error comes back as
// it is; kInternal when the child died. The caller must not have used OpenMP:
// its threads do not survive a fork.
absl::StatusOr<ProcessResult> RunInOwnProcess(
    const std::function<absl::StatusOr<std::string>()>& work);

}  // namespace align::bench
