#include "align/kernels/bf16.h"

#include <algorithm>
#include <bit>

#include "align/base/bf16_bits.h"
#include "align/base/threads.h"

namespace align::kernels {
namespace {

constexpr int64_t kBlock = 1 << 14;

}  // namespace

void RoundToBf16(const float* x, int64_t count, Bf16* out) {
  ParallelFor((count + kBlock - 1) / kBlock, [&](int64_t block) {
    const int64_t end = std::min(count, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; ++i) {
      out[i].bits =
          static_cast<uint16_t>(RoundedBf16Bits(std::bit_cast<uint32_t>(x[i])));
    }
  });
}

}  // namespace align::kernels
