#include "align/kernels/transpose.h"

#include <algorithm>
#include <cstring>

#include "align/base/threads.h"
#include "align/base/transpose16.h"
#include "align/kernels/transpose8.h"

namespace align::kernels {
namespace {

template <class T>
void TransposePart(const T* m, int64_t stride, int64_t rows, int64_t cols,
                   T* out, int64_t out_stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      out[j * out_stride + i] = m[i * stride + j];
    }
  }
}

// Squares that are turned in registers, and how: `from` has rows `stride`
// apart, `out` rows `out_stride` apart.
template <class T>
struct Square;

#if defined(__AVX512BW__)

template <>
struct Square<float> {
  static constexpr int64_t kSide = 16;
  static void Turn(const float* from, int64_t stride, float* out,
                   int64_t out_stride) {
    Words16 words[16];
    for (int64_t i = 0; i < 16; ++i) {
      std::memcpy(&words[i], from + i * stride, sizeof words[i]);
    }
    Transpose16x16(words);
    for (int64_t j = 0; j < 16; ++j) {
      std::memcpy(out + j * out_stride, &words[j], sizeof words[j]);
    }
  }
};

template <>
struct Square<Bf16> {
  static constexpr int64_t kSide = 32;
  // Words are two rows' elements of one column.
  static void Turn(const Bf16* from, int64_t stride, Bf16* out,
                   int64_t out_stride) {
    using Halves = uint16_t __attribute__((vector_size(64)));
    Words16 left[16], right[16];  // columns
    for (int64_t i = 0; i < 16; ++i) {
      Halves a, b;
      std::memcpy(&a, from + 2 * i * stride, sizeof a);
      std::memcpy(&b, from + (2 * i + 1) * stride, sizeof b);
      left[i] = (Words16)__builtin_shufflevector(
          a, b, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40,
          9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);
      right[i] = (Words16)__builtin_shufflevector(
          a, b, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
          24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63);
    }
    for (Words16* half : {left, right}) {
      Transpose16x16(half);
      for (int64_t j = 0; j < 16; ++j) {
        std::memcpy(out + j * out_stride, &half[j], sizeof half[j]);
      }
      out += 16 * out_stride;
    }
  }
};

#else

template <class T, class Vector>
struct Square8 {
  static constexpr int64_t kSide = 8;
  static void Turn(const T* from, int64_t stride, T* out, int64_t out_stride) {
    Transpose8x8<Vector>([&](int64_t i) { return from + i * stride; }, out,
                         out_stride);
  }
};
template <>
struct Square<float> : Square8<float, float __attribute__((vector_size(32)))> {
};
template <>
struct Square<Bf16> : Square8<Bf16, uint16_t __attribute__((vector_size(16)))> {
};

#endif

// Goes down the rows a square's columns at a time, so that whole lines of `out`
// are written one after the other, and asks for lines of memory before it needs
// them: the CPU does not foresee so many.
template <class T>
void TransposeColumns(const T* m, int64_t rows, int64_t cols, T* out) {
  constexpr int64_t kSide = Square<T>::kSide;
  constexpr int64_t kAhead = 3 * kSide;
  ParallelFor((cols + kSide - 1) / kSide, [&](int64_t strip) {
    const int64_t j = strip * kSide, width = std::min(kSide, cols - j);
    for (int64_t i = 0; i < rows; i += kSide) {
      const T* from = m + i * cols + j;
      T* to = out + j * rows + i;
      if (width < kSide || rows - i < kSide) {
        TransposePart(from, cols, std::min(kSide, rows - i), width, to, rows);
        continue;
      }
      for (int64_t ahead = 0; ahead < kSide; ++ahead) {
        __builtin_prefetch(from + (kAhead + ahead) * cols);
        __builtin_prefetch(to + ahead * rows + kAhead, 1);
      }
      Square<T>::Turn(from, cols, to, rows);
    }
  });
}

}  // namespace

void Transpose(const float* m, int64_t rows, int64_t cols, float* out) {
  TransposeColumns(m, rows, cols, out);
}

void Transpose(const Bf16* m, int64_t rows, int64_t cols, Bf16* out) {
  TransposeColumns(m, rows, cols, out);
}

void TransposeRows(const Bf16* m, int64_t rows, int64_t cols, Bf16* out,
                   int64_t out_stride) {
  constexpr int64_t kSide = Square<Bf16>::kSide;
  for (int64_t i = 0; i < rows; i += kSide) {
    const int64_t height = std::min(kSide, rows - i);
    for (int64_t j = 0; j < cols; j += kSide) {
      const Bf16* from = m + i * cols + j;
      Bf16* to = out + j * out_stride + i;
      const int64_t width = std::min(kSide, cols - j);
      if (width < kSide || height < kSide) {
        TransposePart(from, cols, height, width, to, out_stride);
        continue;
      }
      for (int64_t ahead = kSide; ahead < 2 * kSide; ++ahead) {
        __builtin_prefetch(to + ahead * out_stride, 1);
      }
      Square<Bf16>::Turn(from, cols, to, out_stride);
    }
  }
}

}  // namespace align::kernels
