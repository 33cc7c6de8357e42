#pragma once

// Eight rows of eight elements turned in registers. For this folder's .cc
// files.

#include <cstdint>
#include <cstring>

namespace align::kernels {

// Rows start at row(0) .. row(7); column j goes to out + j * out_stride. Pairs
// of lanes, then of pairs, then of fours change places.
template <class Vector, class T, class Row>
void Transpose8x8(const Row& row, T* out, int64_t out_stride) {
  Vector a[8], b[8];
  for (int i = 0; i < 8; ++i) std::memcpy(&a[i], row(i), sizeof a[i]);
  for (int i = 0; i < 4; ++i) {
    b[2 * i] =
        __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    b[2 * i + 1] =
        __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
  for (int i = 0; i < 4; ++i) {
    a[2 * i] =
        __builtin_shufflevector(b[i], b[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    a[2 * i + 1] =
        __builtin_shufflevector(b[i], b[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
  for (int i = 0; i < 4; ++i) {
    b[2 * i] =
        __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    b[2 * i + 1] =
        __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; ++i) {
    std::memcpy(out + i * out_stride, &b[i], sizeof b[i]);
  }
}

}  // namespace align::kernels
