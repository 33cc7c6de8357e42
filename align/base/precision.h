#pragma once

#include <cstdint>

namespace align {

// The upper half of an f32.
struct Bf16 {
  uint16_t bits = 0;
};

// What products multiply in. Sums, and all that is not a product of weights or
// of the head, are f32 either way.
enum class Precision { kF32, kBf16 };

}  // namespace align
