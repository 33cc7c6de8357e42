#pragma once

#include <string>

#include "align/base/precision.h"
#include "align/base/status.h"

namespace align {

// "f32", "bf16" or "auto", which is bf16 where HasFastBf16 and f32 elsewhere.
// kInvalidArgument names them.
absl::StatusOr<Precision> ParsePrecision(const std::string& text);
std::string PrecisionName(Precision precision);

// Whether this CPU multiplies bf16 in hardware (AVX512_BF16 or AMX) and oneDNN
// uses it. Elsewhere bf16 products work, slowly.
bool HasFastBf16();

}  // namespace align
