#pragma once

#include <cstdint>
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

// A number for the instruction set that oneDNN multiplies with: for keys of
// what depends on the last bit.
int64_t MatmulIsa();

}  // namespace align
