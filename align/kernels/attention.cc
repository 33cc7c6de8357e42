#include "align/kernels/attention.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "align/kernels/lanes.h"
#include "align/kernels/transpose8.h"

namespace align::kernels {
namespace {

constexpr int64_t kTile = kLanes;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Calls body with the number of queries to compute as a constant: 1, 2, 4 or
// kQueryBlock. Decoding has few in a block, and the others would cost as much.
template <class Body>
void ForQueries(int64_t count, const Body& body) {
  if (count == 1) {
    body(std::integral_constant<int64_t, 1>());
  } else if (count == 2) {
    body(std::integral_constant<int64_t, 2>());
  } else if (count <= 4) {
    body(std::integral_constant<int64_t, 4>());
  } else {
    body(std::integral_constant<int64_t, kQueryBlock>());
  }
}

// products[i] = q[i] . k for the sixteen keys of a tile, each one chain of
// FMAs.
template <int64_t kQueries>
void TileProducts(const float* const q[kQueryBlock], const float* tile,
                  int64_t dim, Wide products[kQueries]) {
  Wide sums[kQueries] = {};
  for (int64_t d = 0; d < dim; ++d) {
    const Wide keys = LoadWide(tile + d * kTile);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kQueries; ++i) {
      sums[i] = FmaWide(BroadcastWide(q[i][d]), keys, sums[i]);
    }
  }
  std::copy_n(sums, kQueries, products);
}

// Minus infinity in lanes outside [first, visible); lane 0 is position `at`.
Wide Mask(Wide scores, int64_t at, int64_t first, int64_t visible) {
  if (at >= first && at + kTile <= visible) return scores;
  const WideInt lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const auto low =
      static_cast<int32_t>(std::clamp(first - at, int64_t{0}, kTile));
  const auto high =
      static_cast<int32_t>(std::clamp(visible - at, int64_t{0}, kTile));
  const WideInt seen = (lanes >= low) & (lanes < high);
  return seen ? scores : BroadcastWide(kMinusInfinity);
}

int64_t VisibleTiles(int64_t visible) { return (visible + kTile - 1) / kTile; }

int64_t MostVisible(const QueryBlock& block) {
  return *std::max_element(block.visible, block.visible + block.count);
}

// The first position that any query of the block sees. What stands before its
// tile would only add zeros.
int64_t LeastFirst(const QueryBlock& block) {
  return *std::min_element(block.first, block.first + block.count);
}

// Pointers for a whole block, the first repeated beyond its count, so that the
// loops have one shape.
void Filled(const float* const given[kQueryBlock], int64_t count,
            const float* all[kQueryBlock]) {
  for (int64_t i = 0; i < kQueryBlock; ++i) all[i] = given[i < count ? i : 0];
}

// Masked scores of the block from its first visible tile on, with the slopes
// of their cap, and each query's maximum.
template <int64_t kQueries>
void MaskedScores(const QueryBlock& block, const Pointers& key_tiles,
                  const HeadRule& rule, int64_t stride,
                  AttentionScratch& scratch, float maximum[kQueryBlock]) {
  float* scores = scratch.probabilities.data();
  const float* q[kQueryBlock];
  Filled(block.q, block.count, q);
  const Wide scale = BroadcastWide(rule.scale);
  const Wide cap = BroadcastWide(rule.soft_cap);
  Wide best[kQueryBlock];
  std::fill_n(best, kQueryBlock, BroadcastWide(kMinusInfinity));
  for (int64_t t = LeastFirst(block) / kTile; t < stride / kTile; ++t) {
    Wide products[kQueries];
    TileProducts<kQueries>(q, key_tiles[t], rule.dim, products);
    for (int64_t i = 0; i < block.count; ++i) {
      const int64_t at = i * stride + t * kTile;
      Wide score = products[i] * scale;
      if (rule.soft_cap > 0) {
        const Wide bent = TanhWide(score / cap);
        StoreWide(scratch.slopes.data() + at,
                  BroadcastWide(1.0f) - bent * bent);
        score = cap * bent;
      }
      score = Mask(score, t * kTile, block.first[i], block.visible[i]);
      StoreWide(scores + at, score);
      best[i] = MaxWide(score, best[i]);
    }
  }
  for (int64_t i = 0; i < block.count; ++i) maximum[i] = MaxLane(best[i]);
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

// Calls body(full, d, lanes) for every sixteen elements of a head, `full` being
// std::true_type where there are as many.
template <class Body>
void ForElements(int64_t size, const Body& body) {
  for (int64_t d = 0; d < size; d += kLanes) {
    if (size - d >= kLanes) {
      body(std::true_type(), d, kLanes);
    } else {
      body(std::false_type(), d, size - d);
    }
  }
}

// Over the visible positions, for up to sixteen elements of a head from `d`:
// for keys dq[i] += g k and dk += g q[i], for values dv += p dout[i]; all
// queries at once, so that each row is read and written once.
template <bool kKeys, bool kFull>
void ScatterGradients(const QueryBlock& block, const BlockGradients& gradients,
                      const KeyGradients& rows, int64_t d, int64_t lanes,
                      int64_t stride, const AttentionScratch& scratch) {
  const float* from[kQueryBlock];
  Filled(kKeys ? block.q : gradients.dout, block.count, from);
  Wide vectors[kQueryBlock], dq[kQueryBlock] = {};
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    vectors[i] = LoadLanes<kFull>(from[i] + d, lanes);
    if (kKeys && i < block.count) {
      dq[i] = LoadLanes<kFull>(gradients.dq[i] + d, lanes);
    }
  }
  const float* weights =
      kKeys ? scratch.gradients.data() : scratch.probabilities.data();
  const std::vector<float*>& targets = kKeys ? *rows.dk : *rows.dv;
  const int64_t most = MostVisible(block);
  for (int64_t j = LeastFirst(block); j < most; ++j) {
    Wide key{};
    if constexpr (kKeys) key = LoadLanes<kFull>((*rows.keys)[j] + d, lanes);
    Wide target = LoadLanes<kFull>(targets[j] + d, lanes);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kQueryBlock; ++i) {
      const Wide weight = BroadcastWide(weights[i * stride + j]);
      if constexpr (kKeys) dq[i] = FmaWide(weight, key, dq[i]);
      target = FmaWide(weight, vectors[i], target);
    }
    StoreLanes<kFull>(targets[j] + d, target, lanes);
  }
  for (int64_t i = 0; kKeys && i < block.count; ++i) {
    StoreLanes<kFull>(gradients.dq[i] + d, dq[i], lanes);
  }
}

// In scratch, exponentials become probabilities p, and the gradients of scores
// g = p (dout . v - dout . out) scale.
void ScoreGradients(const QueryBlock& block, const BlockGradients& gradients,
                    const Pointers& value_tiles, const HeadRule& rule,
                    const float sum[kQueryBlock], int64_t stride,
                    AttentionScratch& scratch) {
  const float* dout[kQueryBlock];
  Filled(gradients.dout, block.count, dout);
  float delta[kQueryBlock];
  for (int64_t i = 0; i < block.count; ++i) {
    delta[i] = Dot(gradients.dout[i], gradients.out[i], rule.value_dim);
  }
  const Wide scale = BroadcastWide(rule.scale);
  for (int64_t t = LeastFirst(block) / kTile; t < stride / kTile; ++t) {
    Wide products[kQueryBlock];
    TileProducts<kQueryBlock>(dout, value_tiles[t], rule.value_dim, products);
    for (int64_t i = 0; i < block.count; ++i) {
      const int64_t at = i * stride + t * kTile;
      float* exponentials = scratch.probabilities.data() + at;
      const Wide p = LoadWide(exponentials) / BroadcastWide(sum[i]);
      StoreWide(exponentials, p);
      Wide g = p * (products[i] - BroadcastWide(delta[i])) * scale;
      if (rule.soft_cap > 0) g *= LoadWide(scratch.slopes.data() + at);
      StoreWide(scratch.gradients.data() + at, g);
    }
  }
}

// out[i] from element d on: the sum over visible positions, in order, of
// exponential * value, divided by the exponentials' sum.
template <int64_t kQueries, bool kFull>
void MixElements(const QueryBlock& block, const Pointers& values, int64_t d,
                 int64_t lanes, const float* const p[kQueryBlock],
                 const float sum[kQueryBlock], float* const out[kQueryBlock]) {
  const int64_t most = MostVisible(block);
  Wide mixed[kQueries] = {};
  // Outside what a query sees its exponentials are exactly zero.
  for (int64_t j = LeastFirst(block); j < most; ++j) {
    const Wide v = LoadLanes<kFull>(values[j] + d, lanes);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kQueries; ++i) {
      mixed[i] = FmaWide(BroadcastWide(p[i][j]), v, mixed[i]);
    }
  }
  for (int64_t i = 0; i < block.count; ++i) {
    StoreLanes<kFull>(out[i] + d, mixed[i] / BroadcastWide(sum[i]), lanes);
  }
}

}  // namespace

void TurnIntoTile(const float* const* vectors, int64_t count, int64_t lane,
                  int64_t dim, float* tile) {
  // Eight vectors by eight elements at a time, what is left one by one.
  const int64_t whole = count / 8 * 8, whole_dim = dim / 8 * 8;
  for (int64_t j = 0; j < whole; j += 8) {
    for (int64_t d = 0; d < whole_dim; d += 8) {
      Transpose8x8<Float8>([&](int64_t k) { return vectors[j + k] + d; },
                           tile + d * kTile + lane + j, kTile);
    }
  }
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t d = j < whole ? whole_dim : 0; d < dim; ++d) {
      tile[d * kTile + lane + j] = vectors[j][d];
    }
  }
}

void TurnedTiles::Assign(const Pointers& vectors, int64_t dim) {
  const int64_t count = static_cast<int64_t>(vectors.size());
  const int64_t tiles = VisibleTiles(count);
  data_.resize(tiles * dim * kTile);
  pointers_.clear();
  for (int64_t t = 0; t < tiles; ++t) {
    float* tile = data_.data() + t * dim * kTile;
    const int64_t filled = std::min(kTile, count - t * kTile);
    if (filled < kTile) std::fill_n(tile, dim * kTile, 0.0f);
    TurnIntoTile(vectors.data() + t * kTile, filled, 0, dim, tile);
    pointers_.push_back(tile);
  }
}

void ScoreBlock(const QueryBlock& block, const Pointers& key_tiles,
                const HeadRule& rule, AttentionScratch& scratch,
                float maximum[kQueryBlock], float sum[kQueryBlock]) {
  const int64_t stride = VisibleTiles(MostVisible(block)) * kTile;
  const int64_t begin = LeastFirst(block) / kTile * kTile;
  scratch.probabilities.resize(kQueryBlock * stride);
  if (rule.soft_cap > 0) scratch.slopes.resize(kQueryBlock * stride);
  float* scores = scratch.probabilities.data();
  ForQueries(block.count, [&](auto queries) {
    MaskedScores<decltype(queries)::value>(block, key_tiles, rule, stride,
                                           scratch, maximum);
  });
  for (int64_t i = 0; i < block.count; ++i) {
    const Wide most = BroadcastWide(maximum[i]);
    Wide total{};
    std::fill_n(scores + i * stride, begin, 0.0f);
    for (int64_t t = begin; t < stride; t += kTile) {
      float* at = scores + i * stride + t;
      const Wide e = ExpWide(LoadWide(at) - most);
      StoreWide(at, e);
      total += e;
    }
    sum[i] = TreeSum(total);
  }
}

void MixValues(const QueryBlock& block, const Pointers& values,
               int64_t value_dim, int64_t stride,
               const AttentionScratch& scratch, const float sum[kQueryBlock],
               float* const out[kQueryBlock]) {
  const float* p[kQueryBlock];
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    p[i] = scratch.probabilities.data() + (i < block.count ? i : 0) * stride;
  }
  ForQueries(block.count, [&](auto queries) {
    ForElements(value_dim, [&](auto full, int64_t d, int64_t lanes) {
      MixElements<decltype(queries)::value, decltype(full)::value>(
          block, values, d, lanes, p, sum, out);
    });
  });
}

void BackwardBlock(const QueryBlock& block, const BlockGradients& gradients,
                   const Pointers& key_tiles, const Pointers& value_tiles,
                   const KeyGradients& rows, const HeadRule& rule,
                   AttentionScratch& scratch) {
  float maximum[kQueryBlock], sum[kQueryBlock];
  ScoreBlock(block, key_tiles, rule, scratch, maximum, sum);
  const int64_t stride = VisibleTiles(MostVisible(block)) * kTile;
  scratch.gradients.resize(kQueryBlock * stride);
  ScoreGradients(block, gradients, value_tiles, rule, sum, stride, scratch);
  // Absent queries weigh nothing.
  std::fill(scratch.probabilities.begin() + block.count * stride,
            scratch.probabilities.end(), 0.0f);
  std::fill(scratch.gradients.begin() + block.count * stride,
            scratch.gradients.end(), 0.0f);
  ForElements(rule.dim, [&](auto full, int64_t d, int64_t lanes) {
    ScatterGradients<true, decltype(full)::value>(block, gradients, rows, d,
                                                  lanes, stride, scratch);
  });
  ForElements(rule.value_dim, [&](auto full, int64_t d, int64_t lanes) {
    ScatterGradients<false, decltype(full)::value>(block, gradients, rows, d,
                                                   lanes, stride, scratch);
  });
}

}  // namespace align::kernels
