#pragma once

#include <cstdint>

#include "align/base/precision.h"
#include "align/base/profile.h"

namespace align {

// What oneDNN and the memory of this machine do now, with the threads that are
// set: floors under the time of a step. Other programs that run make them
// slower; a ratio to one is worth quoting when both come from one run.

// Seconds of one product [m, k] x [k, n] with the right side packed: the least
// of `tries`, after one that is not counted.
double PackedProductSeconds(int64_t m, int64_t k, int64_t n,
                            Precision precision, int tries = 4);

// The rate of a packed product of 1,024 rows, columns and summands, and that of
// changing memory in place which no cache holds, bytes read and written both
// counted. Takes under half a second, and 128 MB while it runs.
MachineRates MeasureBestRates(Precision precision);

}  // namespace align
