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
#if defined(__AVX512VL__)
  return (Float8)_mm256_maskz_loadu_ps(static_cast<__mmask8>((1u << n) - 1), p);
#else
  Float8 v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
#endif
}
inline void StorePart(float* p, Float8 v, int64_t n) {
#if defined(__AVX512VL__)
  _mm256_mask_storeu_ps(p, static_cast<__mmask8>((1u << n) - 1), (__m256)v);
#else
  std::memcpy(p, &v, n * sizeof(float));
#endif
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

// Sixteen floats: one register with AVX-512, two elsewhere, the same bits.
using Wide = float __attribute__((vector_size(64)));
using WideInt = int32_t __attribute__((vector_size(64)));
using WideUint = uint32_t __attribute__((vector_size(64)));

inline Wide LoadWide(const float* p) {
  Wide v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void StoreWide(float* p, Wide v) { std::memcpy(p, &v, sizeof v); }
inline Wide BroadcastWide(float x) { return x - Wide{}; }

// The first n <= 16 floats; the others are zero, and are not touched in memory.
inline Wide LoadWidePart(const float* p, int64_t n) {
#if defined(__AVX512F__)
  return (Wide)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
  Wide v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
#endif
}
inline void StoreWidePart(float* p, Wide v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
#else
  std::memcpy(p, &v, n * sizeof(float));
#endif
}
inline Wide LoadUpToWide(const float* p, int64_t n) {
  return n >= kLanes ? LoadWide(p) : LoadWidePart(p, n);
}
inline void StoreUpToWide(float* p, Wide v, int64_t n) {
  if (n >= kLanes) {
    StoreWide(p, v);
  } else {
    StoreWidePart(p, v, n);
  }
}

inline Float8 Low(Wide v) {
  Float8 half;
  std::memcpy(&half, &v, sizeof half);
  return half;
}
inline Float8 High(Wide v) {
  Float8 half;
  std::memcpy(&half, reinterpret_cast<const char*>(&v) + sizeof half,
              sizeof half);
  return half;
}
inline Wide Join(Float8 low, Float8 high) {
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
                                 11, 12, 13, 14, 15);
}

// a * b + c with one rounding.
inline Wide FmaWide(Wide a, Wide b, Wide c) {
#if defined(__AVX512F__)
  return (Wide)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
  return Join(Fma8(Low(a), Low(b), Low(c)), Fma8(High(a), High(b), High(c)));
#endif
}

inline Wide MaxWide(Wide a, Wide b) { return a > b ? a : b; }

inline float MaxLane(Wide v) {
  float best = v[0];
  for (int i = 1; i < 16; ++i) best = v[i] > best ? v[i] : best;
  return best;
}

// The functions below are written once, for eight floats and for sixteen.
template <class Float>
struct LanesOf;
template <>
struct LanesOf<Float8> {
  using Int = Int8;
  using Uint = uint32_t __attribute__((vector_size(32)));
  static Float8 Fma(Float8 a, Float8 b, Float8 c) { return Fma8(a, b, c); }
};
template <>
struct LanesOf<Wide> {
  using Int = WideInt;
  using Uint = WideUint;
  static Wide Fma(Wide a, Wide b, Wide c) { return FmaWide(a, b, c); }
};
template <class Float>
Float Broadcast(float x) {
  return x - Float{};
}

// e^x to about one ulp (Cephes' expf polynomial); 0 below -87.3, NaN for NaN.
template <class Float>
Float ExpLanes(Float x) {
  using Lanes = LanesOf<Float>;
  const auto all = [](float value) { return Broadcast<Float>(value); };
  const auto fma = [](Float a, Float b, Float c) {
    return Lanes::Fma(a, b, c);
  };
  const Float low = all(-87.33f), high = all(88.37f);
  const typename Lanes::Int underflow = x < low;
  const Float clamped = x > high ? high : x;
  // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low mantissa bits.
  const Float magic = all(12582912.0f);
  const Float shifted = fma(clamped, all(1.44269504f), magic);
  const Float n = shifted - magic;
  Float r = fma(n, all(-0.693359375f), clamped);
  r = fma(n, all(2.12194440e-4f), r);
  Float p = all(1.9875691500e-4f);
  p = fma(p, r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  p = fma(p, r * r, r) + all(1.0f);
  // 2^n, from the same bits; unsigned so that a NaN's do not overflow.
  const auto bits = (typename Lanes::Uint)shifted;
  const auto scale = (Float)((bits - 0x4B400000u + 127u) << 23);
  const Float result = p * scale;
  return underflow ? Float{} : result;
}
inline Float8 Exp8(Float8 x) { return ExpLanes(x); }
inline Wide ExpWide(Wide x) { return ExpLanes(x); }

// log x to about one ulp (Cephes' logf polynomial) for x >= 1.2e-38, below
// which it is that of 1.2e-38; NaN for NaN.
inline Float8 Log8(Float8 x) {
  const Float8 low = Broadcast8(1.17549435e-38f);
  const Int8 bits = (Int8)Max8(x, low);
  const Float8 one = Broadcast8(1.0f);
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)), where the polynomial holds.
  Float8 e = __builtin_convertvector((bits >> 23) - 126, Float8);
  Float8 m = (Float8)((bits & 0x007FFFFF) | 0x3F000000);
  const Int8 small = m < Broadcast8(0.707106781f);
  e = small ? e - one : e;
  m = (small ? m + m : m) - one;
  Float8 p = Broadcast8(7.0376836292e-2f);
  p = Fma8(p, m, Broadcast8(-1.1514610310e-1f));
  p = Fma8(p, m, Broadcast8(1.1676998740e-1f));
  p = Fma8(p, m, Broadcast8(-1.2420140846e-1f));
  p = Fma8(p, m, Broadcast8(1.4249322787e-1f));
  p = Fma8(p, m, Broadcast8(-1.6668057665e-1f));
  p = Fma8(p, m, Broadcast8(2.0000714765e-1f));
  p = Fma8(p, m, Broadcast8(-2.4999993993e-1f));
  p = Fma8(p, m, Broadcast8(3.3333331174e-1f));
  const Float8 z = m * m;
  Float8 y = Fma8(e, Broadcast8(-2.12194440e-4f), p * m * z);
  y = Fma8(z, Broadcast8(-0.5f), y);
  const Float8 result = Fma8(e, Broadcast8(0.693359375f), m + y);
  return x == x ? result : x;
}

// tanh x to about one ulp (Cephes' tanhf): a polynomial near zero, where
// 1 - 2 / (e^2x + 1) cancels.
template <class Float>
Float TanhLanes(Float x) {
  using Lanes = LanesOf<Float>;
  const auto all = [](float value) { return Broadcast<Float>(value); };
  const Float one = all(1.0f);
  const Float size = x < Float{} ? -x : x;
  const Float large = one - all(2.0f) / (ExpLanes(size + size) + one);
  const Float z = x * x;
  Float p = all(-5.70498872745e-3f);
  for (const float c : {2.06390887954e-2f, -5.37397155531e-2f,
                        1.33314422036e-1f, -3.33332819422e-1f}) {
    p = Lanes::Fma(p, z, all(c));
  }
  const Float small = Lanes::Fma(p * z, x, x);
  const Float signed_large = x < Float{} ? -large : large;
  return size < all(0.625f) ? small : signed_large;
}
inline Wide TanhWide(Wide x) { return TanhLanes(x); }

// erf x to 2e-7 (Cephes' erff, erfcf): an odd polynomial below one, beyond it
// 1 - e^(-x^2) / x times a polynomial in 1 / x^2.
template <class Float>
Float ErfLanes(Float x) {
  const auto all = [](float value) { return Broadcast<Float>(value); };
  const Float one = all(1.0f);
  const Float size = x < Float{} ? -x : x;
  const Float z = x * x;
  constexpr float kSmall[] = {7.853861353153693e-5f, -8.010193625184903e-4f,
                              5.188327685732524e-3f, -2.685381193529856e-2f,
                              1.128358514861418e-1f, -3.761262582423300e-1f,
                              1.128379165726710e+0f};
  constexpr float kMiddle[] = {
      2.326819970068386e-2f,  -1.387039388740657e-1f, 3.687424674597105e-1f,
      -5.824733027278666e-1f, 6.210004621745983e-1f,  -4.944515323274145e-1f,
      3.404879937665872e-1f,  -2.741127028184656e-1f, 5.638259427386472e-1f};
  constexpr float kLarge[] = {-1.047766399936249e+1f, 1.297719955372516e+1f,
                              -7.495518717768503e+0f, 2.921019019210786e+0f,
                              -1.015265279202700e+0f, 4.218463358204948e-1f,
                              -2.820767439740514e-1f, 5.641895067754075e-1f};
  const auto polynomial = [&](const auto& coefficients, Float at) {
    Float p{};
    for (const float c : coefficients) p = LanesOf<Float>::Fma(p, at, all(c));
    return p;
  };
  const Float small = x * polynomial(kSmall, z);
  const Float beyond = size < one ? one : size;  // no division by zero
  const Float inverse = one / beyond;
  const Float y = inverse * inverse;
  const Float tail =
      size < all(2.0f) ? polynomial(kMiddle, y) : polynomial(kLarge, y);
  const Float large = one - ExpLanes(-z) * inverse * tail;
  const Float signed_large = x < Float{} ? -large : large;
  return size < one ? small : signed_large;
}
inline Wide ErfWide(Wide x) { return ErfLanes(x); }

inline float Exp(float x) { return Exp8(Broadcast8(x))[0]; }

// Sum of the sixteen lanes of (lo, hi) as a fixed tree.
inline float TreeSum(Float8 lo, Float8 hi) {
  const Float8 s = lo + hi;
  const float a = s[0] + s[4], b = s[1] + s[5];
  const float c = s[2] + s[6], d = s[3] + s[7];
  return (a + c) + (b + d);
}

inline float TreeSum(Wide v) { return TreeSum(Low(v), High(v)); }

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

// sum a[i], with the lanes of Dot.
inline float Sum(const float* a, int64_t n) {
  Float8 lo{}, hi{};
  for (int64_t i = 0; i < n; i += kLanes) {
    lo += LoadUpTo8(a + i, n - i);
    if (n - i > 8) hi += LoadUpTo8(a + i + 8, n - i - 8);
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
