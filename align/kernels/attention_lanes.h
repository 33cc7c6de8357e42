#pragma once

// What both passes of attention are made of: products with tiles and mixes of
// rows, with elements in f32 or two bf16 a word. For this folder's .cc files.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "align/kernels/attention.h"
#include "align/kernels/bf16_pairs.h"
#include "align/kernels/lanes.h"

namespace align::kernels {

inline constexpr int64_t kTile = kLanes;

// An element a word.
struct F32Product {
  static constexpr int64_t kPerWord = 1;
  static Wide Splat(const float* word) { return BroadcastWide(*word); }
  static Wide Add(Wide a, Wide b, Wide sum) { return FmaWide(a, b, sum); }
};
// Two bf16 a word, sums in f32.
struct Bf16Product {
  static constexpr int64_t kPerWord = 2;
  static Wide Splat(const float* word) { return SplatWord(word); }
  static Wide Add(Wide a, Wide b, Wide sum) { return DotPairs(a, b, sum); }
};

template <class Body>
void WithProduct(Precision precision, const Body& body) {
  if (precision == Precision::kBf16) {
    body(Bf16Product());
  } else {
    body(F32Product());
  }
}

template <int64_t kValue>
using Constant = std::integral_constant<int64_t, kValue>;

// Calls body with the number of queries to compute as a constant. Decoding has
// few in a block, and the others would cost as much.
template <class Body>
void ForQueries(int64_t count, const Body& body) {
  switch (count) {
    case 1:
      return body(Constant<1>());
    case 2:
      return body(Constant<2>());
    case 3:
      return body(Constant<3>());
    case 4:
      return body(Constant<4>());
    default:
      return body(Constant<kQueryBlock>());
  }
}

// Vectors that meet one splat of each of `queries` words: as many as leave the
// registers room, so that loads do not bound.
constexpr int64_t VectorsAtOnce(int64_t queries) {
#if defined(__AVX512F__)
  return queries <= 4 ? 4 : 2;
#else
  return 1;
#endif
}

// Calls body(vectors, full, d, lanes) for every group of up to kMost vectors of
// a head: `full` is std::true_type where vectors have all their lanes.
template <int64_t kMost, class Body>
void ForElements(int64_t size, const Body& body) {
  int64_t d = 0;
  for (; d + kMost * kLanes <= size; d += kMost * kLanes) {
    body(Constant<kMost>(), std::true_type(), d, kLanes);
  }
  for (; d + kLanes <= size; d += kLanes) {
    body(Constant<1>(), std::true_type(), d, kLanes);
  }
  if (d < size) body(Constant<1>(), std::false_type(), d, size - d);
}

template <bool kFull>
Wide LoadLanes(const float* p, int64_t lanes) {
  return kFull ? LoadWide(p) : LoadWidePart(p, lanes);
}
template <bool kFull>
void StoreLanes(float* p, Wide v, int64_t lanes) {
  if constexpr (kFull) {
    StoreWide(p, v);
  } else {
    StoreWidePart(p, v, lanes);
  }
}

inline int64_t VisibleTiles(int64_t visible) {
  return (visible + kTile - 1) / kTile;
}
inline int64_t MostVisible(const QueryBlock& block) {
  return *std::max_element(block.visible, block.visible + block.count);
}
// Of one query's scores in scratch.
inline int64_t ScoreStride(const QueryBlock& block) {
  return VisibleTiles(MostVisible(block)) * kTile;
}
// The first position that any query of the block sees. What stands before its
// tile would only add zeros.
inline int64_t LeastFirst(const QueryBlock& block) {
  return *std::min_element(block.first, block.first + block.count);
}

// products[t][i] = q[i] . k for the sixteen keys of tile t, each one chain.
template <class Product, int64_t kQueries, int64_t kTiles>
void TileProducts(const float* const q[kQueryBlock], const float* const* tiles,
                  int64_t words, Wide products[kTiles][kQueries]) {
  Wide sums[kTiles][kQueries] = {};
  for (int64_t w = 0; w < words; ++w) {
    Wide keys[kTiles];
#pragma GCC unroll 8
    for (int64_t t = 0; t < kTiles; ++t) {
      keys[t] = LoadWide(tiles[t] + w * kTile);
    }
#pragma GCC unroll 8
    for (int64_t i = 0; i < kQueries; ++i) {
      const Wide word = Product::Splat(q[i] + w);
#pragma GCC unroll 8
      for (int64_t t = 0; t < kTiles; ++t) {
        sums[t][i] = Product::Add(word, keys[t], sums[t][i]);
      }
    }
  }
  for (int64_t t = 0; t < kTiles; ++t) {
    std::copy_n(sums[t], kQueries, products[t]);
  }
}

// Calls each(t, products of tile t) for tiles [first, end).
template <class Product, int64_t kQueries, class Body>
void ForTileProducts(const float* const q[kQueryBlock], const Pointers& tiles,
                     int64_t words, int64_t first, int64_t end,
                     const Body& each) {
  constexpr int64_t kMost = VectorsAtOnce(kQueries);
  int64_t t = first;
  for (; t + kMost <= end; t += kMost) {
    Wide products[kMost][kQueries];
    TileProducts<Product, kQueries, kMost>(q, tiles.data() + t, words,
                                           products);
    for (int64_t n = 0; n < kMost; ++n) each(t + n, products[n]);
  }
  for (; t < end; ++t) {
    Wide products[1][kQueries];
    TileProducts<Product, kQueries, 1>(q, tiles.data() + t, words, products);
    each(t, products[0]);
  }
}

// mixed[n][i] += the sum over rows [first, end), in order, of weights[i][row]
// times vector n of the row from element d on.
template <class Product, int64_t kQueries, int64_t kVectors, bool kFull>
void MixRows(const Pointers& rows, int64_t first, int64_t end, int64_t d,
             int64_t lanes, const float* const weights[kQueryBlock],
             Wide mixed[kVectors][kQueries]) {
  Wide sums[kVectors][kQueries];
  for (int64_t n = 0; n < kVectors; ++n) {
    std::copy_n(mixed[n], kQueries, sums[n]);
  }
  for (int64_t r = first; r < end; ++r) {
    Wide row[kVectors];
#pragma GCC unroll 8
    for (int64_t n = 0; n < kVectors; ++n) {
      row[n] = LoadLanes<kFull>(rows[r] + d + n * kLanes, lanes);
    }
#pragma GCC unroll 8
    for (int64_t i = 0; i < kQueries; ++i) {
      const Wide weight = Product::Splat(weights[i] + r);
#pragma GCC unroll 8
      for (int64_t n = 0; n < kVectors; ++n) {
        sums[n][i] = Product::Add(weight, row[n], sums[n][i]);
      }
    }
  }
  for (int64_t n = 0; n < kVectors; ++n) {
    std::copy_n(sums[n], kQueries, mixed[n]);
  }
}

// [kQueryBlock] rows of `stride` words.
inline void WeightRows(const std::vector<float>& words, int64_t count,
                       int64_t stride, const float* rows[kQueryBlock]) {
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    rows[i] = words.data() + (i < count ? i : 0) * stride;
  }
}

}  // namespace align::kernels
