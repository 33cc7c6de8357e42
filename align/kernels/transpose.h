#pragma once

#include <cstdint>

#include "align/base/precision.h"

namespace align::kernels {

// out [cols, rows] = the transpose of m [rows, cols], both dense and apart.
void Transpose(const float* m, int64_t rows, int64_t cols, float* out);
void Transpose(const Bf16* m, int64_t rows, int64_t cols, Bf16* out);

}  // namespace align::kernels
