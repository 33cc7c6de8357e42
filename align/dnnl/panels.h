#pragma once

// Private to align/dnnl: fills the layout of a bf16 right-hand side [K, N] that
// oneDNN's AVX-512 kernels read, few_rows.h's ColumnBlocks. Panels of 64
// columns, rows two by two:
//   out[n / 64][k / 32][k % 32 / 2][n % 64][k % 2], zero beyond K and N.
// oneDNN's own reorder into it takes one element at a time.

#include <cstdint>

#include "align/base/precision.h"

namespace align::onednn {

// Whether the functions below are compiled for registers of 512 bits, without
// which oneDNN's reorder is the faster.
#if defined(__AVX512BW__)
inline constexpr bool kPanelsPay = true;
#else
inline constexpr bool kPanelsPay = false;
#endif

// Bf16 of a whole layout.
int64_t PanelsSize(int64_t k, int64_t n);

// From rows, b[i * stride + j]; floats are rounded to nearest even.
void PackRows(const float* b, int64_t stride, int64_t k, int64_t n, Bf16* out);
void PackRows(const Bf16* b, int64_t stride, int64_t k, int64_t n, Bf16* out);
// From columns, b[j * stride + i].
void PackColumns(const float* b, int64_t stride, int64_t k, int64_t n,
                 Bf16* out);

}  // namespace align::onednn
