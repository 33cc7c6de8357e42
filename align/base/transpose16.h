#pragma once

// Sixteen rows of sixteen words turned in registers, where these have 512 bits.

#include <algorithm>
#include <cstdint>

namespace align {

using Words16 = uint32_t __attribute__((vector_size(64)));

// m[j][i] = m[i][j]: four perfect shuffles of 256 words transpose them.
inline void Transpose16x16(Words16* m) {
  for (int round = 0; round < 4; ++round) {
    Words16 next[16];
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = __builtin_shufflevector(m[i], m[i + 8], 0, 16, 1, 17, 2, 18,
                                            3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] =
          __builtin_shufflevector(m[i], m[i + 8], 8, 24, 9, 25, 10, 26, 11, 27,
                                  12, 28, 13, 29, 14, 30, 15, 31);
    }
    std::copy_n(next, 16, m);
  }
}

}  // namespace align
