#include <algorithm>

#include "align/kernels/attention.h"
#include "align/kernels/attention_lanes.h"
#include "align/kernels/bf16_pairs.h"
#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

// In scratch, exponentials become probabilities p, and the gradients of scores
// g = p (dout . v - dout . out) scale.
void ScoreGradients(const QueryBlock& block, const BlockGradients& gradients,
                    const Pointers& value_tiles, const HeadRule& rule,
                    const float sum[kQueryBlock], AttentionScratch& scratch) {
  const int64_t stride = ScoreStride(block);
  const float* dout[kQueryBlock];
  float delta[kQueryBlock];
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    const int64_t from = i < block.count ? i : 0;
    dout[i] = gradients.dout[from];
    delta[i] = Dot(dout[i], gradients.out[from], rule.value_dim);
  }
  const Wide scale = BroadcastWide(rule.scale);
  ForTileProducts<F32Product, kQueryBlock>(
      dout, value_tiles, rule.value_dim, LeastFirst(block) / kTile,
      stride / kTile, [&](int64_t t, const Wide* products) {
        for (int64_t i = 0; i < block.count; ++i) {
          const int64_t at = i * stride + t * kTile;
          float* exponentials = scratch.probabilities.data() + at;
          const Wide p = LoadWide(exponentials) / BroadcastWide(sum[i]);
          StoreWide(exponentials, p);
          Wide g = p * (products[i] - BroadcastWide(delta[i])) * scale;
          if (rule.soft_cap > 0) g *= LoadWide(scratch.slopes.data() + at);
          StoreWide(scratch.gradients.data() + at, g);
        }
      });
}

// Over the visible positions, for up to sixteen elements of a head from `d`:
// for keys dq[i] += g k and dk += g q[i], for values dv += p dout[i]; all
// queries at once, so that each row is read and written once.
template <bool kKeys, bool kFull>
void ScatterGradients(const QueryBlock& block, const BlockGradients& gradients,
                      const KeyGradients& rows, int64_t d, int64_t lanes,
                      int64_t stride, const AttentionScratch& scratch) {
  const float* from[kQueryBlock];
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    from[i] = (kKeys ? block.q : gradients.dout)[i < block.count ? i : 0];
  }
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

void BackwardF32(const QueryBlock& block, const BlockGradients& gradients,
                 const Pointers& value_tiles, const KeyGradients& rows,
                 const HeadRule& rule, const float sum[kQueryBlock],
                 AttentionScratch& scratch) {
  const int64_t stride = ScoreStride(block);
  scratch.gradients.resize(kQueryBlock * stride);
  ScoreGradients(block, gradients, value_tiles, rule, sum, scratch);
  // Absent queries weigh nothing.
  std::fill(scratch.probabilities.begin() + block.count * stride,
            scratch.probabilities.end(), 0.0f);
  std::fill(scratch.gradients.begin() + block.count * stride,
            scratch.gradients.end(), 0.0f);
  ForElements<1>(rule.dim, [&](auto, auto full, int64_t d, int64_t lanes) {
    ScatterGradients<true, full()>(block, gradients, rows, d, lanes, stride,
                                   scratch);
  });
  ForElements<1>(rule.value_dim,
                 [&](auto, auto full, int64_t d, int64_t lanes) {
                   ScatterGradients<false, full()>(block, gradients, rows, d,
                                                   lanes, stride, scratch);
                 });
}

constexpr int64_t kBlockWords = kQueryBlock / 2;

// Words of the block's d(out), those of the first repeated beyond its count.
void DoutWords(const QueryBlock& block, const BlockGradients& gradients,
               int64_t dim, std::vector<float>& rounded,
               const float* words[kQueryBlock]) {
  const int64_t width = Words(dim, Precision::kBf16);
  rounded.resize(kQueryBlock * width);
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    const int64_t from = i < block.count ? i : 0;
    RoundNeighbours(gradients.dout[from], dim, rounded.data() + i * width);
    words[i] = rounded.data() + i * width;
  }
}

// dout[i] . out[i], of dout as it meets values.
float Delta(const float* dout, const float* out, const HeadRule& rule,
            AttentionScratch& scratch) {
  scratch.rounded.resize(rule.value_dim);
  for (int64_t d = 0; d < rule.value_dim; d += kLanes) {
    const int64_t lanes = rule.value_dim - d;
    StoreUpToWide(scratch.rounded.data() + d,
                  RoundedWide(LoadUpToWide(dout + d, lanes)), lanes);
  }
  return Dot(scratch.rounded.data(), out, rule.value_dim);
}

// One tile's gradients of scores and weights of d(out), as words by query, at
// `g_words` and `p_words`; and the former as weights of keys, at `g_row` [i].
void NoteTile(const Wide g[kQueryBlock], const Wide p[kQueryBlock],
              float* g_words, float* p_words, float* const g_row[kQueryBlock]) {
  for (int64_t i = 0; i < kQueryBlock; i += 2) {
    StoreWide(g_words + i / 2 * kTile, PairWide(g[i], g[i + 1]));
    StoreWide(p_words + i / 2 * kTile, PairWide(p[i], p[i + 1]));
    StoreNeighbours(g[i], kTile, g_row[i]);
    StoreNeighbours(g[i + 1], kTile, g_row[i + 1]);
  }
}

// Notes exponentials and the gradients of scores g = p (dout . v - dout . out)
// scale, with p = exponential / sum.
void NoteScores(const QueryBlock& block, const BlockGradients& gradients,
                const Pointers& value_tiles, const HeadRule& rule,
                const float sum[kQueryBlock], AttentionScratch& scratch) {
  const int64_t stride = ScoreStride(block);
  const float* dout[kQueryBlock];
  DoutWords(block, gradients, rule.value_dim, scratch.dout_words, dout);
  float delta[kQueryBlock];
  for (int64_t i = 0; i < block.count; ++i) {
    delta[i] = Delta(gradients.dout[i], gradients.out[i], rule, scratch);
  }
  const Wide scale = BroadcastWide(rule.scale);
  NotedGradients& noted = scratch.noted;
  ForTileProducts<Bf16Product, kQueryBlock>(
      dout, value_tiles, Words(rule.value_dim, rule.precision),
      LeastFirst(block) / kTile, stride / kTile,
      [&](int64_t t, const Wide* products) {
        Wide g[kQueryBlock] = {}, e[kQueryBlock] = {};  // absent: no weight
        float* g_row[kQueryBlock];
        for (int64_t i = 0; i < kQueryBlock; ++i) {
          const int64_t at = i * stride + t * kTile;
          g_row[i] = scratch.gradients.data() + at / 2;
          if (i >= block.count) continue;
          e[i] = LoadWide(scratch.probabilities.data() + at);
          g[i] = e[i] * BroadcastWide(1.0f / sum[i]) *
                 (products[i] - BroadcastWide(delta[i])) * scale;
          if (rule.soft_cap > 0) {
            g[i] *= LoadWide(scratch.slopes.data() + at);
          }
        }
        const int64_t words = (t * kNotedWords + noted.words) * kTile;
        NoteTile(g, e, noted.g.data() + words, noted.p.data() + words, g_row);
      });
}

// Zeros where noted words weigh tiles [begin, end).
void ClearWords(int64_t count, int64_t begin, int64_t end,
                NotedGradients& noted) {
  for (int64_t t = begin; t < end; ++t) {
    const int64_t at = (t * kNotedWords + noted.words) * kTile;
    std::fill_n(noted.g.data() + at, count * kTile, 0.0f);
    std::fill_n(noted.p.data() + at, count * kTile, 0.0f);
  }
}

// Notes the vectors that the block's words weigh.
void NoteVectors(const QueryBlock& block, const BlockGradients& gradients,
                 const HeadRule& rule, const float sum[kQueryBlock],
                 AttentionScratch& scratch) {
  NotedGradients& noted = scratch.noted;
  const int64_t dim = rule.dim, value_dim = rule.value_dim;
  noted.q_pairs.resize(kNotedWords * dim);
  noted.dout_pairs.resize(kNotedWords * value_dim);
  scratch.rounded.resize(2 * value_dim);
  float *low = scratch.rounded.data(), *high = low + value_dim;
  for (int64_t i = 0; i < kQueryBlock; i += 2) {
    const int64_t first = i < block.count ? i : 0;
    const int64_t second = i + 1 < block.count ? i + 1 : 0;
    const int64_t word = noted.words + i / 2;
    float* q = noted.q_pairs.data() + word * dim;
    float* dout = noted.dout_pairs.data() + word * value_dim;
    RoundPairs(block.q[first], block.q[second], dim, q);
    for (int64_t d = 0; d < value_dim; ++d) {
      low[d] = gradients.dout[first][d] / sum[first];
      high[d] = gradients.dout[second][d] / sum[second];
    }
    RoundPairs(low, high, value_dim, dout);
    noted.q[word] = q;
    noted.dout[word] = dout;
  }
}

// dq[i] += the sum over visible positions of g k.
void AddQueryGradients(const QueryBlock& block, const Pointers& keys,
                       int64_t dim, const std::vector<float>& g,
                       float* const dq[kQueryBlock]) {
  const int64_t first = LeastFirst(block) / 2;
  const int64_t end = (MostVisible(block) + 1) / 2;
  const float* weights[kQueryBlock];
  WeightRows(g, block.count, ScoreStride(block) / 2, weights);
  ForElements<VectorsAtOnce(kQueryBlock)>(
      dim, [&](auto vectors, auto full, int64_t d, int64_t lanes) {
        Wide sums[vectors()][kQueryBlock] = {};
        for (int64_t i = 0; i < block.count; ++i) {
          for (int64_t n = 0; n < vectors(); ++n) {
            sums[n][i] = LoadLanes<full()>(dq[i] + d + n * kLanes, lanes);
          }
        }
        MixRows<Bf16Product, kQueryBlock, vectors(), full()>(
            keys, first, end, d, lanes, weights, sums);
        for (int64_t i = 0; i < block.count; ++i) {
          for (int64_t n = 0; n < vectors(); ++n) {
            StoreLanes<full()>(dq[i] + d + n * kLanes, sums[n][i], lanes);
          }
        }
      });
}

// targets[j] += the sum over noted words i of words[i][n] times its weight at
// j, in the kVectors vectors from element d on.
template <int64_t kWords, int64_t kVectors, bool kFull>
void AddWords(const std::vector<float>& weights,
              const Wide words[kWords][kVectors], int64_t first, int64_t end,
              int64_t d, int64_t lanes, const std::vector<float*>& targets) {
  for (int64_t j = first; j < end; ++j) {
    const float* const weight =
        weights.data() + j / kTile * kNotedWords * kTile + j % kTile;
    float* const target = targets[j] + d;
    Wide sums[kVectors];
#pragma GCC unroll 8
    for (int64_t n = 0; n < kVectors; ++n) {
      sums[n] = LoadLanes<kFull>(target + n * kLanes, lanes);
    }
#pragma GCC unroll 16
    for (int64_t i = 0; i < kWords; ++i) {
      const Wide word = Bf16Product::Splat(weight + i * kTile);
#pragma GCC unroll 8
      for (int64_t n = 0; n < kVectors; ++n) {
        sums[n] = Bf16Product::Add(word, words[i][n], sums[n]);
      }
    }
#pragma GCC unroll 8
    for (int64_t n = 0; n < kVectors; ++n) {
      StoreLanes<kFull>(target + n * kLanes, sums[n], lanes);
    }
  }
}

// targets[j] += the sum over what is noted of weight times vector.
template <int64_t kWords>
void AddByPosition(const NotedGradients& noted,
                   const std::vector<float>& weights,
                   const float* const vectors_of[kNotedWords], int64_t dim,
                   const std::vector<float*>& targets) {
  ForElements<kNotedWords / kWords>(
      dim, [&](auto vectors, auto full, int64_t d, int64_t lanes) {
        Wide words[kWords][vectors()];
        for (int64_t i = 0; i < kWords; ++i) {
          const float* from = vectors_of[i < noted.words ? i : 0] + d;
          for (int64_t n = 0; n < vectors(); ++n) {
            words[i][n] = LoadLanes<full()>(from + n * kLanes, lanes);
          }
        }
        AddWords<kWords, vectors(), full()>(weights, words, noted.first,
                                            noted.end, d, lanes, targets);
      });
}

void AddNoted(const KeyGradients& rows, const HeadRule& rule,
              NotedGradients& noted) {
  if (noted.words == 0) return;
  const auto add = [&](auto words) {
    ClearWords(words() - noted.words, noted.first / kTile,
               VisibleTiles(noted.end), noted);
    AddByPosition<words()>(noted, noted.g, noted.q, rule.dim, *rows.dk);
    AddByPosition<words()>(noted, noted.p, noted.dout, rule.value_dim,
                           *rows.dv);
  };
  if (noted.words <= kNotedWords / 4) {
    add(Constant<kNotedWords / 4>());
  } else if (noted.words <= kNotedWords / 2) {
    add(Constant<kNotedWords / 2>());
  } else {
    add(Constant<kNotedWords>());
  }
  noted.words = 0;
}

void BackwardBf16(const QueryBlock& block, const BlockGradients& gradients,
                  const Pointers& value_tiles, const KeyGradients& rows,
                  const HeadRule& rule, const float sum[kQueryBlock],
                  AttentionScratch& scratch) {
  const int64_t stride = ScoreStride(block);
  const auto tiles = static_cast<int64_t>(value_tiles.size());
  NotedGradients& noted = scratch.noted;
  scratch.gradients.resize(kQueryBlock * stride / 2);
  noted.g.resize(tiles * kNotedWords * kTile);
  noted.p.resize(tiles * kNotedWords * kTile);
  ClearWords(kBlockWords, 0, LeastFirst(block) / kTile, noted);
  ClearWords(kBlockWords, stride / kTile, tiles, noted);
  NoteScores(block, gradients, value_tiles, rule, sum, scratch);
  NoteVectors(block, gradients, rule, sum, scratch);
  AddQueryGradients(block, *rows.keys, rule.dim, scratch.gradients,
                    gradients.dq);
  const int64_t first = LeastFirst(block), end = MostVisible(block);
  noted.first = noted.words > 0 ? std::min(noted.first, first) : first;
  noted.end = noted.words > 0 ? std::max(noted.end, end) : end;
  noted.words += kBlockWords;
  if (noted.words + kBlockWords > kNotedWords) AddNoted(rows, rule, noted);
}

}  // namespace

void BackwardBlock(const QueryBlock& block, const BlockGradients& gradients,
                   const Pointers& key_tiles, const Pointers& value_tiles,
                   const KeyGradients& rows, const HeadRule& rule,
                   AttentionScratch& scratch) {
  float sum[kQueryBlock];
  ScoreBlock(block, key_tiles, rule, scratch, sum);
  const auto backward =
      rule.precision == Precision::kBf16 ? BackwardBf16 : BackwardF32;
  backward(block, gradients, value_tiles, rows, rule, sum, scratch);
}

void FinishBackward(const KeyGradients& rows, const HeadRule& rule,
                    AttentionScratch& scratch) {
  AddNoted(rows, rule, scratch.noted);
}

}  // namespace align::kernels
