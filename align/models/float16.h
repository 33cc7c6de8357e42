#pragma once

#include <cstdint>

namespace align {

// The two halves of a float: F16 (IEEE 754 binary16) and BF16. To float is
// exact; from float is the nearest, ties to even, beyond the largest finite
// value infinite (as PyTorch does). NaN stays NaN, and payloads that the target
// has room for are kept, so that there and back again changes no bit.
float HalfToFloat(uint16_t half);
float BfloatToFloat(uint16_t bfloat);
uint16_t FloatToHalf(float value);
uint16_t FloatToBfloat(float value);

// The largest finite F16.
inline constexpr float kMaxHalf = 65504.0f;

}  // namespace align
