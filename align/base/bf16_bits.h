#pragma once

#include <cstdint>

namespace align {

// The 16 bits of bf16 nearest to a float with these bits, even on a tie, in the
// lower half. `Bits` is uint32_t or a vector of them.
template <class Bits>
Bits RoundedBf16Bits(Bits bits) {
  // Half a unit of the last place kept, or one less when that is even.
  const Bits rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
  // A NaN whose payload stands in the lower half would round to infinity.
  const Bits quiet = bits | 0x400000u;
  return ((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded) >> 16;
}

}  // namespace align
