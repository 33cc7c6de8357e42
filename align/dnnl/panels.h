#pragma once

// Private to align/dnnl: fills the layout of a right-hand side [K, N] that
// oneDNN's AVX-512 kernels read, few_rows.h's ColumnBlocks. Panels of 64
// columns, zero beyond K and N; in bf16 rows two by two:
//   f32   out[n / 64][k / 16][k % 16][n % 64]
//   bf16  out[n / 64][k / 32][k % 32 / 2][n % 64][k % 2].
// oneDNN's own reorder into it takes one element at a time, or waits for lines
// of memory one by one.

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

// Elements of a whole layout.
int64_t PanelsSize(int64_t k, int64_t n, Precision precision);

// From rows, b[i * stride + j]; for Bf16 floats are rounded to nearest even.
void PackRows(const float* b, int64_t stride, int64_t k, int64_t n, float* out);
void PackRows(const float* b, int64_t stride, int64_t k, int64_t n, Bf16* out);
void PackRows(const Bf16* b, int64_t stride, int64_t k, int64_t n, Bf16* out);
// From columns, b[j * stride + i].
void PackColumns(const float* b, int64_t stride, int64_t k, int64_t n,
                 float* out);
void PackColumns(const float* b, int64_t stride, int64_t k, int64_t n,
                 Bf16* out);

}  // namespace align::onednn
