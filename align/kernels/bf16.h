#pragma once

#include <cstdint>

#include "align/base/precision.h"

namespace align::kernels {

// out[i] = x[i] rounded to nearest even; a NaN stays one.
void RoundToBf16(const float* x, int64_t count, Bf16* out);

}  // namespace align::kernels
