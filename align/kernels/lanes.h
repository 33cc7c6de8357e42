#pragma once

// Eight and sixteen floats at a time, with every rounding written out, so that
// a value's bits do not depend on where in a vector, loop or file it was
// computed. Compilers may neither contract nor reorder what is spelled here.

#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__FMA__)
#include <immintrin.h>
#endif

namespace align::kernels {

using Float8 = float __attribute__((vector_size(32)));
using Int8 = int32_t __attribute__((vector_size(32)));
inline constexpr int64_t kLanes = 16;

inline Float8 Load8(const float* p) {
  Float8 v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void Store8(float* p, Float8 v) { std::memcpy(p, &v, sizeof v); }
inline Float8 Broadcast8(float x) { return Float8{x, x, x, x, x, x, x, x}; }

// The first n < 8 floats; the others are zero, and are not touched in memory.
inline Float8 LoadPart(const float* p, int64_t n) {
  Float8 v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}
inline void StorePart(float* p, Float8 v, int64_t n) {
  std::memcpy(p, &v, n * sizeof(float));
}
inline Float8 LoadUpTo8(const float* p, int64_t n) {
  return n >= 8 ? Load8(p) : LoadPart(p, n);
}
inline void StoreUpTo8(float* p, Float8 v, int64_t n) {
  if (n >= 8) {
    Store8(p, v);
  } else {
    StorePart(p, v, n);
  }
}

// a * b + c with one rounding.
inline Float8 Fma8(Float8 a, Float8 b, Float8 c) {
#if defined(__FMA__)
  return (Float8)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  Float8 out;
  for (int i = 0; i < 8; ++i) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return out;
#endif
}

inline Float8 Max8(Float8 a, Float8 b) { return a > b ? a : b; }

// e^x to about one ulp (Cephes' expf polynomial); 0 below -87.3, NaN for NaN.
inline Float8 Exp8(Float8 x) {
  const Float8 low = Broadcast8(-87.33f), high = Broadcast8(88.37f);
  const Int8 underflow = x < low;
  const Float8 clamped = x > high ? high : x;
  // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low mantissa bits.
  const Float8 magic = Broadcast8(12582912.0f);
  const Float8 shifted = Fma8(clamped, Broadcast8(1.44269504f), magic);
  const Float8 n = shifted - magic;
  Float8 r = Fma8(n, Broadcast8(-0.693359375f), clamped);
  r = Fma8(n, Broadcast8(2.12194440e-4f), r);
  Float8 p = Broadcast8(1.9875691500e-4f);
  p = Fma8(p, r, Broadcast8(1.3981999507e-3f));
  p = Fma8(p, r, Broadcast8(8.3334519073e-3f));
  p = Fma8(p, r, Broadcast8(4.1665795894e-2f));
  p = Fma8(p, r, Broadcast8(1.6666665459e-1f));
  p = Fma8(p, r, Broadcast8(5.0000001201e-1f));
  p = Fma8(p, r * r, r) + Broadcast8(1.0f);
  // 2^n, from the same bits; unsigned so that a NaN's do not overflow.
  using Uint8 = uint32_t __attribute__((vector_size(32)));
  const Uint8 bits = (Uint8)shifted;
  const Float8 scale = (Float8)((bits - 0x4B400000u + 127u) << 23);
  const Float8 result = p * scale;
  return underflow ? Float8{} : result;
}

inline float Exp(float x) { return Exp8(Broadcast8(x))[0]; }

// Sum of the sixteen lanes of (lo, hi) as a fixed tree.
inline float TreeSum(Float8 lo, Float8 hi) {
  const Float8 s = lo + hi;
  const float a = s[0] + s[4], b = s[1] + s[5];
  const float c = s[2] + s[6], d = s[3] + s[7];
  return (a + c) + (b + d);
}

// sum a[i] b[i]; element i always goes to lane i mod 16.
inline float Dot(const float* a, const float* b, int64_t n) {
  Float8 lo{}, hi{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    lo = Fma8(Load8(a + i), Load8(b + i), lo);
    hi = Fma8(Load8(a + i + 8), Load8(b + i + 8), hi);
  }
  if (i < n) {
    lo = Fma8(LoadUpTo8(a + i, n - i), LoadUpTo8(b + i, n - i), lo);
    if (n - i > 8) {
      hi = Fma8(LoadUpTo8(a + i + 8, n - i - 8),
                LoadUpTo8(b + i + 8, n - i - 8), hi);
    }
  }
  return TreeSum(lo, hi);
}

// y += factor * x.
inline void Axpy(float factor, const float* x, float* y, int64_t n) {
  const Float8 f = Broadcast8(factor);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) Store8(y + i, Fma8(f, Load8(x + i), Load8(y + i)));
  if (i < n) {
    StorePart(y + i, Fma8(f, LoadPart(x + i, n - i), LoadPart(y + i, n - i)),
              n - i);
  }
}

}  // namespace align::kernels
