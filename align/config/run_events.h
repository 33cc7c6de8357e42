#pragma once

#include <string>

#include "align/base/status.h"
#include "align/train/run_loop.h"

namespace align {

// The observer of align/report/event_observer.h with this machine's clock and
// host name: every run writes a file of its own, so that one that is continued
// adds to what was there. Errors name the directory.
absl::StatusOr<train::Observer> RunEvents(const std::string& directory);

}  // namespace align
