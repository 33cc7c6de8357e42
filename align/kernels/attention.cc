#include "align/kernels/attention.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

constexpr int64_t kTile = 16;

// scores[i][0..16) = scale * q[i] . k for one tile. Queries beyond the block's
// count repeat the first, so that the loop has one shape.
void TileProducts(const float* const q[kQueryBlock], const float* tile,
                  int64_t dim, Float8 lo[kQueryBlock], Float8 hi[kQueryBlock]) {
  Float8 a0{}, a1{}, b0{}, b1{}, c0{}, c1{}, d0{}, d1{};
  for (int64_t i = 0; i < dim; ++i) {
    const Float8 k0 = Load8(tile + i * kTile);
    const Float8 k1 = Load8(tile + i * kTile + 8);
    const Float8 qa = Broadcast8(q[0][i]), qb = Broadcast8(q[1][i]);
    const Float8 qc = Broadcast8(q[2][i]), qd = Broadcast8(q[3][i]);
    a0 = Fma8(qa, k0, a0);
    a1 = Fma8(qa, k1, a1);
    b0 = Fma8(qb, k0, b0);
    b1 = Fma8(qb, k1, b1);
    c0 = Fma8(qc, k0, c0);
    c1 = Fma8(qc, k1, c1);
    d0 = Fma8(qd, k0, d0);
    d1 = Fma8(qd, k1, d1);
  }
  lo[0] = a0, lo[1] = b0, lo[2] = c0, lo[3] = d0;
  hi[0] = a1, hi[1] = b1, hi[2] = c1, hi[3] = d1;
}

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Minus infinity in lanes outside [first, visible); lane 0 is position `at`.
Float8 Mask(Float8 scores, int64_t at, int64_t first, int64_t visible) {
  if (at >= first && at + 8 <= visible) return scores;
  for (int64_t lane = 0; lane < 8; ++lane) {
    if (at + lane < first || at + lane >= visible) {
      scores[lane] = kMinusInfinity;
    }
  }
  return scores;
}

float MaxLane(Float8 v) {
  float best = v[0];
  for (int i = 1; i < 8; ++i) best = std::max(best, v[i]);
  return best;
}

int64_t VisibleTiles(int64_t visible) { return (visible + kTile - 1) / kTile; }

int64_t BlockTiles(const QueryBlock& block) {
  return VisibleTiles(
      *std::max_element(block.visible, block.visible + block.count));
}

// The first position that any query of the block sees. What stands before its
// tile would only add zeros.
int64_t LeastFirst(const QueryBlock& block) {
  return *std::min_element(block.first, block.first + block.count);
}

// Pointers for four queries, the first repeated beyond the block's count.
void FourOf(const float* const given[kQueryBlock], int64_t count,
            const float* four[kQueryBlock]) {
  for (int64_t i = 0; i < kQueryBlock; ++i) four[i] = given[i < count ? i : 0];
}

// cap tanh(score / cap), and its slope into `slope`.
Float8 Capped(Float8 score, float cap, float* slope) {
  const Float8 t = Tanh8(score / Broadcast8(cap));
  Store8(slope, Broadcast8(1.0f) - t * t);
  return Broadcast8(cap) * t;
}

// Masked scores of the block from its first visible tile on, with the slopes
// of their cap, and each query's maximum.
void MaskedScores(const QueryBlock& block, const KeyTiles& keys,
                  const HeadRule& rule, int64_t stride,
                  AttentionScratch& scratch, float maximum[kQueryBlock]) {
  float* scores = scratch.probabilities.data();
  const float* q[kQueryBlock];
  FourOf(block.q, block.count, q);
  Float8 best[kQueryBlock];
  std::fill_n(best, kQueryBlock, Broadcast8(kMinusInfinity));
  for (int64_t t = LeastFirst(block) / kTile; t < stride / kTile; ++t) {
    Float8 lo[kQueryBlock], hi[kQueryBlock];
    TileProducts(q, keys.tile(t), rule.dim, lo, hi);
    for (int64_t i = 0; i < block.count; ++i) {
      const int64_t at = i * stride + t * kTile;
      float* out = scores + at;
      Float8 s0 = lo[i] * Broadcast8(rule.scale);
      Float8 s1 = hi[i] * Broadcast8(rule.scale);
      if (rule.soft_cap > 0) {
        s0 = Capped(s0, rule.soft_cap, scratch.slopes.data() + at);
        s1 = Capped(s1, rule.soft_cap, scratch.slopes.data() + at + 8);
      }
      s0 = Mask(s0, t * kTile, block.first[i], block.visible[i]);
      s1 = Mask(s1, t * kTile + 8, block.first[i], block.visible[i]);
      Store8(out, s0);
      Store8(out + 8, s1);
      best[i] = Max8(s1, Max8(s0, best[i]));
    }
  }
  for (int64_t i = 0; i < block.count; ++i) maximum[i] = MaxLane(best[i]);
}

template <bool kFull>
Float8 LoadLanes(const float* p, int64_t lanes) {
  return kFull ? Load8(p) : LoadPart(p, lanes);
}
template <bool kFull>
void StoreLanes(float* p, Float8 v, int64_t lanes) {
  if constexpr (kFull) {
    Store8(p, v);
  } else {
    StorePart(p, v, lanes);
  }
}

// Over the visible positions, for up to eight elements of a head from `d`: for
// keys dq[i] += g k and dk += g q[i], for values dv += p dout[i]; all four
// queries at once, so that each row is read and written once.
template <bool kKeys, bool kFull>
void ScatterGradients(const QueryBlock& block, const BlockGradients& gradients,
                      const KeyGradients& rows, int64_t d, int64_t lanes,
                      int64_t stride, const AttentionScratch& scratch) {
  const float* from[kQueryBlock];
  FourOf(kKeys ? block.q : gradients.dout, block.count, from);
  Float8 vectors[kQueryBlock], dq[kQueryBlock] = {};
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    vectors[i] = LoadLanes<kFull>(from[i] + d, lanes);
    if (kKeys && i < block.count) {
      dq[i] = LoadLanes<kFull>(gradients.dq[i] + d, lanes);
    }
  }
  const float* weights =
      kKeys ? scratch.gradients.data() : scratch.probabilities.data();
  const std::vector<float*>& targets = kKeys ? *rows.dk : *rows.dv;
  const int64_t most =
      *std::max_element(block.visible, block.visible + block.count);
  for (int64_t j = LeastFirst(block); j < most; ++j) {
    Float8 key{};
    if constexpr (kKeys) key = LoadLanes<kFull>((*rows.keys)[j] + d, lanes);
    Float8 target = LoadLanes<kFull>(targets[j] + d, lanes);
    for (int64_t i = 0; i < kQueryBlock; ++i) {
      const Float8 weight = Broadcast8(weights[i * stride + j]);
      if constexpr (kKeys) dq[i] = Fma8(weight, key, dq[i]);
      target = Fma8(weight, vectors[i], target);
    }
    StoreLanes<kFull>(targets[j] + d, target, lanes);
  }
  for (int64_t i = 0; kKeys && i < block.count; ++i) {
    StoreLanes<kFull>(gradients.dq[i] + d, dq[i], lanes);
  }
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
    if (filled < kTile) std::fill_n(tile, dim * kTile, 0.0f);
    for (int64_t j = 0; j < filled; ++j) {
      const float* row = rows[t * kTile + j];
      for (int64_t d = 0; d < dim; ++d) tile[d * kTile + j] = row[d];
    }
  }
}

void ScoreBlock(const QueryBlock& block, const KeyTiles& keys,
                const HeadRule& rule, AttentionScratch& scratch,
                float maximum[kQueryBlock], float sum[kQueryBlock]) {
  const int64_t stride = BlockTiles(block) * kTile;
  const int64_t begin = LeastFirst(block) / kTile * kTile;
  scratch.probabilities.resize(kQueryBlock * stride);
  if (rule.soft_cap > 0) scratch.slopes.resize(kQueryBlock * stride);
  float* scores = scratch.probabilities.data();
  MaskedScores(block, keys, rule, stride, scratch, maximum);
  for (int64_t i = 0; i < block.count; ++i) {
    const Float8 most = Broadcast8(maximum[i]);
    Float8 lo{}, hi{};
    std::fill_n(scores + i * stride, begin, 0.0f);
    for (int64_t t = begin; t < stride; t += kTile) {
      float* at = scores + i * stride + t;
      const Float8 e0 = Exp8(Load8(at) - most), e1 = Exp8(Load8(at + 8) - most);
      Store8(at, e0);
      Store8(at + 8, e1);
      lo += e0;
      hi += e1;
    }
    sum[i] = TreeSum(lo, hi);
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
  const int64_t most =
      *std::max_element(block.visible, block.visible + block.count);
  const int64_t least = LeastFirst(block);
  for (int64_t d = 0; d < value_dim; d += 8) {
    const int64_t lanes = std::min<int64_t>(8, value_dim - d);
    Float8 a{}, b{}, c{}, e{};
    // Outside what a query sees its exponentials are exactly zero.
    for (int64_t j = least; j < most; ++j) {
      const Float8 v = LoadUpTo8(values[j] + d, lanes);
      a = Fma8(Broadcast8(p[0][j]), v, a);
      b = Fma8(Broadcast8(p[1][j]), v, b);
      c = Fma8(Broadcast8(p[2][j]), v, c);
      e = Fma8(Broadcast8(p[3][j]), v, e);
    }
    const Float8 mixed[kQueryBlock] = {a, b, c, e};
    for (int64_t i = 0; i < block.count; ++i) {
      StoreUpTo8(out[i] + d, mixed[i] / Broadcast8(sum[i]), lanes);
    }
  }
}

void BackwardBlock(const QueryBlock& block, const BlockGradients& gradients,
                   const KeyTiles& keys, const KeyTiles& values,
                   const KeyGradients& rows, const HeadRule& rule,
                   AttentionScratch& scratch) {
  float maximum[kQueryBlock], sum[kQueryBlock];
  ScoreBlock(block, keys, rule, scratch, maximum, sum);
  const int64_t stride = BlockTiles(block) * kTile;
  scratch.gradients.resize(kQueryBlock * stride);
  const float* dout[kQueryBlock];
  FourOf(gradients.dout, block.count, dout);

  // p becomes a probability; g = p (dout . v - dout . out) scale.
  float delta[kQueryBlock];
  for (int64_t i = 0; i < block.count; ++i) {
    delta[i] = Dot(gradients.dout[i], gradients.out[i], rule.value_dim);
  }
  for (int64_t t = LeastFirst(block) / kTile; t < stride / kTile; ++t) {
    Float8 lo[kQueryBlock], hi[kQueryBlock];
    TileProducts(dout, values.tile(t), rule.value_dim, lo, hi);
    for (int64_t i = 0; i < block.count; ++i) {
      const Float8 mean = Broadcast8(delta[i]), s = Broadcast8(rule.scale);
      const Float8 total = Broadcast8(sum[i]);
      const int64_t at = i * stride + t * kTile;
      float* p = scratch.probabilities.data() + at;
      float* g = scratch.gradients.data() + at;
      const Float8 p0 = Load8(p) / total, p1 = Load8(p + 8) / total;
      Store8(p, p0);
      Store8(p + 8, p1);
      Float8 g0 = p0 * (lo[i] - mean) * s, g1 = p1 * (hi[i] - mean) * s;
      if (rule.soft_cap > 0) {
        g0 *= Load8(scratch.slopes.data() + at);
        g1 *= Load8(scratch.slopes.data() + at + 8);
      }
      Store8(g, g0);
      Store8(g + 8, g1);
    }
  }

  // Absent queries weigh nothing.
  std::fill(scratch.probabilities.begin() + block.count * stride,
            scratch.probabilities.end(), 0.0f);
  std::fill(scratch.gradients.begin() + block.count * stride,
            scratch.gradients.end(), 0.0f);
  const auto scatter = [&](auto of_keys, int64_t size) {
    constexpr bool kKeys = decltype(of_keys)::value;
    for (int64_t d = 0; d < size; d += 8) {
      if (size - d >= 8) {
        ScatterGradients<kKeys, true>(block, gradients, rows, d, 8, stride,
                                      scratch);
      } else {
        ScatterGradients<kKeys, false>(block, gradients, rows, d, size - d,
                                       stride, scratch);
      }
    }
  };
  scatter(std::true_type(), rule.dim);
  scatter(std::false_type(), rule.value_dim);
}

}  // namespace align::kernels
