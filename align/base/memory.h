#pragma once

#include <cstdint>

namespace align {

// Peak resident set of this process in bytes (getrusage).
int64_t PeakResidentBytes();

// What the machine (or this process' cgroup, if tighter) can still give, bytes.
int64_t AvailableMemoryBytes();

}  // namespace align
