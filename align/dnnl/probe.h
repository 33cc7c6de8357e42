#pragma once

// Private to align/dnnl: products by which the process finds out, once, whether
// oneDNN gives a row the same bits whatever stands around it.

#include <cstdint>
#include <vector>

#include "align/dnnl/matmul.h"

namespace align {

struct ProbeShape {
  int64_t k, n;
  bool b_transposed;

  // The [k, n] matrix of these values.
  MatrixView View(const float* b) const {
    return b_transposed ? Transposed(RowMajor(b, n, k)) : RowMajor(b, k, n);
  }
};
inline constexpr ProbeShape kProbeShapes[] = {
    {64, 172, true}, {172, 64, true},   {512, 128, true},
    {300, 77, true}, {512, 128, false}, {64, 512, true}};
inline constexpr int64_t kProbeRows[] = {1,  2,  3,   7,   8,   15, 17,
                                         33, 63, 100, 127, 129, 300};

// Values with full mantissas, so that a change of summation order shows.
inline std::vector<float> ProbeValues(int64_t count, uint32_t seed) {
  std::vector<float> values(count);
  uint32_t state = seed;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
  }
  return values;
}

}  // namespace align
