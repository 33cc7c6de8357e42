#pragma once

// Words of two bf16, in memory and in the lanes of vectors of f32, and their
// products: a word's lower half comes before its upper half. For this folder's
// .cc files.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "align/base/bf16_bits.h"
#include "align/kernels/lanes.h"

namespace align::kernels {

// bf16 bits nearest to each lane, in its lower half.
inline WideUint RoundedBits(Wide x) {
#if defined(__AVX512BF16__)
  return (WideUint)_mm512_cvtepu16_epi32(
      (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
  return RoundedBf16Bits((WideUint)x);
#endif
}

inline Wide RoundedWide(Wide x) { return (Wide)(RoundedBits(x) << 16); }

// A word a lane, of a lane of each.
inline Wide PairWide(Wide low, Wide high) {
  return (Wide)(RoundedBits(low) | RoundedBits(high) << 16);
}

inline Wide LowHalves(Wide words) { return (Wide)((WideUint)words << 16); }
inline Wide HighHalves(Wide words) {
  return (Wide)((WideUint)words & 0xFFFF0000u);
}

// The word at p in every lane; as a number it could be a NaN.
inline Wide SplatWord(const float* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof word);
  return (Wide)(word - WideUint{});
}

// sum + a.low b.low + a.high b.high by lanes.
inline Wide DotPairs(Wide a, Wide b, Wide sum) {
#if defined(__AVX512BF16__)
  return (Wide)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  return FmaWide(HighHalves(a), HighHalves(b),
                 FmaWide(LowHalves(a), LowHalves(b), sum));
#endif
}

// Sixteen neighbours as eight words, of which the first (count + 1) / 2 are
// written.
inline void StoreNeighbours(Wide x, int64_t count, float* words) {
  using Halves = uint16_t __attribute__((vector_size(32)));
  const Halves halves = __builtin_convertvector(RoundedBits(x), Halves);
  if (count >= kLanes) {
    std::memcpy(words, &halves, sizeof halves);
  } else {
    std::memcpy(words, &halves, (count + 1) / 2 * sizeof(float));
  }
}

// x [count] as (count + 1) / 2 words of neighbours, the last filled with zero.
inline void RoundNeighbours(const float* x, int64_t count, float* words) {
  for (int64_t i = 0; i < count; i += kLanes) {
    StoreNeighbours(LoadUpToWide(x + i, count - i), count - i, words + i / 2);
  }
}

// words[i] of low[i] and high[i].
inline void RoundPairs(const float* low, const float* high, int64_t count,
                       float* words) {
  for (int64_t i = 0; i < count; i += kLanes) {
    StoreUpToWide(words + i,
                  PairWide(LoadUpToWide(low + i, count - i),
                           LoadUpToWide(high + i, count - i)),
                  count - i);
  }
}

}  // namespace align::kernels
