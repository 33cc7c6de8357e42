#include "align/kernels/bf16.h"

#include <algorithm>
#include <bit>

#include "align/base/threads.h"

namespace align::kernels {
namespace {

constexpr int64_t kBlock = 1 << 14;

// Adds half a unit of the last place kept, or one less when that is even.
uint16_t Round(uint32_t bits) {
  const uint32_t rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
  const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  // A NaN whose payload stands in the lower half would round to infinity.
  return static_cast<uint16_t>((nan ? bits | 0x400000u : rounded) >> 16);
}

}  // namespace

void RoundToBf16(const float* x, int64_t count, Bf16* out) {
  ParallelFor((count + kBlock - 1) / kBlock, [&](int64_t block) {
    const int64_t end = std::min(count, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; ++i) {
      out[i].bits = Round(std::bit_cast<uint32_t>(x[i]));
    }
  });
}

}  // namespace align::kernels
