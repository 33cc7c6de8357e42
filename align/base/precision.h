#pragma once

#include <cstdint>

namespace align {

// The upper half of an f32.
struct Bf16 {
  uint16_t bits = 0;
};

// What products of weights, of the head and of attention's values multiply in.
// Sums, and all else, are f32 either way.
enum class Precision { kF32, kBf16 };

}  // namespace align
