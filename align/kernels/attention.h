#pragma once

#include <cstdint>
#include <vector>

#include "align/base/precision.h"

namespace align::kernels {

// Attention of one key/value head, over query vectors of `dim` floats and
// values of `value_dim`.
//
// Keys stand in tiles of 16 absolute positions; a score is one chain of FMAs
// over dim; exponentials go to the lane of their position and tiles are added
// in position order; values are added one position after the other. So a
// query's result depends on that query and on the keys and values before it,
// and on nothing else.
//
// In bf16 what is mixed is rounded, two elements a word: values and
// exponentials and, on the way back, all that meets in a product but in scores.
// The chains go over words: pairs of positions 2n and 2n + 1 in what is added
// over positions. Scores are products of f32, for rounded keys move log-probs
// more than all else does; sums are f32, and the exponentials that are summed
// are the rounded ones.

// Words of `elements` neighbours.
constexpr int64_t Words(int64_t elements, Precision precision) {
  return precision == Precision::kBf16 ? (elements + 1) / 2 : elements;
}

// Vectors of one head, one after the other: a pointer each (in bf16 one to the
// pairs of every two), or one to each tile of 16 of them, tile[word][position
// % 16].
using Pointers = std::vector<const float*>;

// Writes `count` vectors of `words` words to lanes [lane, lane + count) of a
// tile.
void TurnIntoTile(const float* const* vectors, int64_t count, int64_t lane,
                  int64_t words, float* tile);
// Writes a vector of `dim` f32 as the first of each pair, and zero as the
// second, or as the second.
void StoreInPairs(const float* vector, int64_t dim, bool second, float* pairs);

// Tiles made of vectors of f32; missing positions are zero.
class TurnedTiles {
 public:
  void Assign(const Pointers& vectors, int64_t dim, Precision precision);
  const Pointers& pointers() const { return pointers_; }

 private:
  std::vector<float> data_, rounded_;
  Pointers words_, pointers_;
};

// The vectors themselves, in bf16 pairs made of every two.
class ProductVectors {
 public:
  void Assign(const Pointers& vectors, int64_t dim, Precision precision);
  const Pointers& pointers() const { return pointers_; }

 private:
  std::vector<float> pairs_;
  Pointers pointers_;
};

// Up to as many query vectors at once, for which the registers suffice. Results
// do not depend on it.
#if defined(__AVX512F__)
inline constexpr int64_t kQueryBlock = 8;
#else
inline constexpr int64_t kQueryBlock = 4;
#endif
struct QueryBlock {
  int64_t count = 0;                 // 1..kQueryBlock
  const float* q[kQueryBlock] = {};  // `dim` floats each
  // The keys that each sees: [first, visible), up to its own position.
  int64_t first[kQueryBlock] = {};
  int64_t visible[kQueryBlock] = {};
};

// score = scale q . k, and with a soft cap cap tanh(score / cap).
struct HeadRule {
  int64_t dim = 0;
  int64_t value_dim = 0;
  float scale = 1;
  float soft_cap = 0;  // 0: none
  Precision precision = Precision::kF32;
};

// What queries add in bf16 to the gradients of keys and values, gathered from
// some blocks so that rows of gradients are read and written once for all: up
// to kNotedWords words of weights a position, and the vectors that they weigh.
#if defined(__AVX512F__)
inline constexpr int64_t kNotedWords = 16;
#else
inline constexpr int64_t kNotedWords = 4;
#endif
struct NotedGradients {
  int64_t words = 0;
  int64_t first = 0, end = 0;  // positions
  // Of scores, and exponentials: [tiles, kNotedWords, 16].
  std::vector<float> g, p;
  const float *q[kNotedWords] = {}, *dout[kNotedWords] = {};
  std::vector<float> q_pairs, dout_pairs;  // what these point to
};

// Scratch that callers keep between blocks.
struct AttentionScratch {
  std::vector<float> probabilities;  // [kQueryBlock, tiles * 16]
  std::vector<float> gradients;      // the same, for the backward pass
  std::vector<float> slopes;         // d(capped score) / d(score)
  // In bf16: d(out), [kQueryBlock, words], and probabilities as pairs of
  // positions, [kQueryBlock, tiles * 8], as gradients are then.
  std::vector<float> dout_words, probability_words;
  std::vector<float> rounded;
  NotedGradients noted;
};

// For each query of the block: the exponentials e^(s - max) of its scores into
// scratch (zero outside what it sees), and their sum.
void ScoreBlock(const QueryBlock& block, const Pointers& key_tiles,
                const HeadRule& rule, AttentionScratch& scratch,
                float sum[kQueryBlock]);

// out[i] = sum over positions of exponential * value / sum[i].
void MixValues(const QueryBlock& block, const Pointers& values,
               const HeadRule& rule, const AttentionScratch& scratch,
               const float sum[kQueryBlock], float* const out[kQueryBlock]);

// The gradients of one block, given d(out) and out of each query: adds into
// dq[i], and into dk and dv of every visible position, some of it only in
// FinishBackward, which is to follow the last block of the same keys and
// values.
struct BlockGradients {
  const float* out[kQueryBlock] = {};
  const float* dout[kQueryBlock] = {};
  float* dq[kQueryBlock] = {};
};
struct KeyGradients {
  const Pointers* keys = nullptr;  // as ProductVectors
  std::vector<float*>* dk = nullptr;
  std::vector<float*>* dv = nullptr;
};
void BackwardBlock(const QueryBlock& block, const BlockGradients& gradients,
                   const Pointers& key_tiles, const Pointers& value_tiles,
                   const KeyGradients& rows, const HeadRule& rule,
                   AttentionScratch& scratch);
void FinishBackward(const KeyGradients& rows, const HeadRule& rule,
                    AttentionScratch& scratch);

}  // namespace align::kernels
