#include "align/kernels/attention.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

constexpr int64_t kTile = kLanes;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Decoding asks for the heads of one row, often no more than these: then the
// other places of a block are not computed.
constexpr int64_t kFewQueries = 4;

// products[i] = q[i] . k for the sixteen keys of a tile, each one chain of
// FMAs; the first kCount of them.
template <int64_t kCount = kQueryBlock>
void TileProducts(const float* const q[kQueryBlock], const float* tile,
                  int64_t dim, Wide products[kQueryBlock]) {
  Wide sums[kCount] = {};
  for (int64_t d = 0; d < dim; ++d) {
    const Wide keys = LoadWide(tile + d * kTile);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kCount; ++i) {
      sums[i] = FmaWide(BroadcastWide(q[i][d]), keys, sums[i]);
    }
  }
  std::copy_n(sums, kCount, products);
}

// Minus infinity in lanes outside [first, visible); lane 0 is position `at`.
Wide Mask(Wide scores, int64_t at, int64_t first, int64_t visible) {
  if (at >= first && at + kTile <= visible) return scores;
  for (int64_t lane = 0; lane < kTile; ++lane) {
    if (at + lane < first || at + lane >= visible) {
      scores[lane] = kMinusInfinity;
    }
  }
  return scores;
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
void MaskedScores(const QueryBlock& block, const KeyTiles& keys,
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
    Wide products[kQueryBlock];
    if (block.count <= kFewQueries) {
      TileProducts<kFewQueries>(q, keys.tile(t), rule.dim, products);
    } else {
      TileProducts(q, keys.tile(t), rule.dim, products);
    }
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
                    const KeyTiles& values, const HeadRule& rule,
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
    TileProducts(dout, values.tile(t), rule.value_dim, products);
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
template <bool kFull, int64_t kCount>
void MixElements(const QueryBlock& block,
                 const std::vector<const float*>& values, int64_t d,
                 int64_t lanes, const float* const p[kQueryBlock],
                 const float sum[kQueryBlock], float* const out[kQueryBlock]) {
  const int64_t most = MostVisible(block);
  Wide mixed[kCount] = {};
  // Outside what a query sees its exponentials are exactly zero.
  for (int64_t j = LeastFirst(block); j < most; ++j) {
    const Wide v = LoadLanes<kFull>(values[j] + d, lanes);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kCount; ++i) {
      mixed[i] = FmaWide(BroadcastWide(p[i][j]), v, mixed[i]);
    }
  }
  for (int64_t i = 0; i < block.count; ++i) {
    StoreLanes<kFull>(out[i] + d, mixed[i] / BroadcastWide(sum[i]), lanes);
  }
}

// Elements [0, 16) of sixteen rows, turned: out[d * 16 + j] = rows[j][d]. Pairs
// of rows are interleaved until every row has met all others.
void TurnSquare(const float* const rows[kTile], int64_t offset, float* out) {
  Wide a[kTile], b[kTile];
  for (int64_t j = 0; j < kTile; ++j) a[j] = LoadWide(rows[j] + offset);
  const auto interleave = [](const Wide* from, Wide* to) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < kTile / 2; ++i) {
      const Wide x = from[i], y = from[i + kTile / 2];
      to[2 * i] = __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4,
                                          20, 5, 21, 6, 22, 7, 23);
      to[2 * i + 1] = __builtin_shufflevector(
          x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
  };
  interleave(a, b);
  interleave(b, a);
  interleave(a, b);
  interleave(b, a);
  for (int64_t d = 0; d < kTile; ++d) StoreWide(out + d * kTile, a[d]);
}

}  // namespace

void KeyTiles::Assign(const std::vector<const float*>& rows, int64_t dim) {
  dim_ = dim;
  const int64_t count = static_cast<int64_t>(rows.size());
  tiles_ = VisibleTiles(count);
  data_.resize(tiles_ * dim * kTile);
  for (int64_t t = 0; t < tiles_; ++t) {
    float* tile = data_.data() + t * dim * kTile;
    const int64_t filled = std::min(kTile, count - t * kTile);
    int64_t turned = 0;
    if (filled == kTile) {
      for (; turned + kTile <= dim; turned += kTile) {
        TurnSquare(rows.data() + t * kTile, turned, tile + turned * kTile);
      }
    } else {
      std::fill_n(tile, dim * kTile, 0.0f);
    }
    for (int64_t j = 0; j < filled; ++j) {
      const float* row = rows[t * kTile + j];
      for (int64_t d = turned; d < dim; ++d) tile[d * kTile + j] = row[d];
    }
  }
}

void ScoreBlock(const QueryBlock& block, const KeyTiles& keys,
                const HeadRule& rule, AttentionScratch& scratch,
                float maximum[kQueryBlock], float sum[kQueryBlock]) {
  const int64_t stride = VisibleTiles(MostVisible(block)) * kTile;
  const int64_t begin = LeastFirst(block) / kTile * kTile;
  scratch.probabilities.resize(kQueryBlock * stride);
  if (rule.soft_cap > 0) scratch.slopes.resize(kQueryBlock * stride);
  float* scores = scratch.probabilities.data();
  MaskedScores(block, keys, rule, stride, scratch, maximum);
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

void MixValues(const QueryBlock& block, const std::vector<const float*>& values,
               int64_t value_dim, int64_t stride,
               const AttentionScratch& scratch, const float sum[kQueryBlock],
               float* const out[kQueryBlock]) {
  const float* p[kQueryBlock];
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    p[i] = scratch.probabilities.data() + (i < block.count ? i : 0) * stride;
  }
  ForElements(value_dim, [&](auto full, int64_t d, int64_t lanes) {
    constexpr bool kFull = decltype(full)::value;
    if (block.count <= kFewQueries) {
      MixElements<kFull, kFewQueries>(block, values, d, lanes, p, sum, out);
    } else {
      MixElements<kFull, kQueryBlock>(block, values, d, lanes, p, sum, out);
    }
  });
}

void BackwardBlock(const QueryBlock& block, const BlockGradients& gradients,
                   const KeyTiles& keys, const KeyTiles& values,
                   const KeyGradients& rows, const HeadRule& rule,
                   AttentionScratch& scratch) {
  float maximum[kQueryBlock], sum[kQueryBlock];
  ScoreBlock(block, keys, rule, scratch, maximum, sum);
  const int64_t stride = VisibleTiles(MostVisible(block)) * kTile;
  scratch.gradients.resize(kQueryBlock * stride);
  ScoreGradients(block, gradients, values, rule, sum, stride, scratch);
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
