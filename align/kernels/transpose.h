#pragma once

#include <cstdint>

#include "align/base/precision.h"

namespace align::kernels {

// out [cols, rows] = the transpose of m [rows, cols], both dense and apart.
void Transpose(const float* m, int64_t rows, int64_t cols, float* out);
void Transpose(const Bf16* m, int64_t rows, int64_t cols, Bf16* out);

// Rows that TransposeRows turns at best at a time.
inline constexpr int64_t kTransposeRows = 32;

// The same for a few dense rows of a larger matrix, which are in the cache, on
// this thread: element (i, j) goes to out[j * out_stride + i].
void TransposeRows(const Bf16* m, int64_t rows, int64_t cols, Bf16* out,
                   int64_t out_stride);

}  // namespace align::kernels
