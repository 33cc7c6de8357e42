#pragma once

#include <cstdint>
#include <vector>

namespace align::kernels {

// Attention of one key/value head, over query vectors of `dim` floats and
// values of `value_dim`.
//
// Keys stand in tiles of 16 absolute positions; a score is one chain of FMAs
// over dim; exponentials go to the lane of their position and tiles are added
// in position order; values are added one position after the other. So a
// query's result depends on that query and on the keys and values before it,
// and on nothing else.

// Vectors of one head, one after the other: a pointer each, or a pointer to
// each tile of 16 of them, tile[d][position % 16].
using Pointers = std::vector<const float*>;

// Writes `count` vectors of `dim` floats to lanes [lane, lane + count) of a
// tile.
void TurnIntoTile(const float* const* vectors, int64_t count, int64_t lane,
                  int64_t dim, float* tile);

// Tiles made of vectors; missing positions are zero.
class TurnedTiles {
 public:
  void Assign(const Pointers& vectors, int64_t dim);
  const Pointers& pointers() const { return pointers_; }

 private:
  std::vector<float> data_;
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
};

// Scratch that callers keep between blocks.
struct AttentionScratch {
  std::vector<float> probabilities;  // [kQueryBlock, tiles * 16]
  std::vector<float> gradients;      // the same, for the backward pass
  std::vector<float> slopes;         // d(capped score) / d(score)
};

// For each query of the block: the exponentials e^(s - max) of its scores into
// scratch.probabilities (zero outside what it sees), its maximum and their sum.
void ScoreBlock(const QueryBlock& block, const Pointers& key_tiles,
                const HeadRule& rule, AttentionScratch& scratch,
                float maximum[kQueryBlock], float sum[kQueryBlock]);

// out[i] = sum over positions of exponential * value / sum[i].
void MixValues(const QueryBlock& block, const Pointers& values,
               int64_t value_dim, int64_t stride,
               const AttentionScratch& scratch, const float sum[kQueryBlock],
               float* const out[kQueryBlock]);

// The gradients of one block, given d(out) and out of each query: adds into
// dq[i], and into dk and dv of every visible position.
struct BlockGradients {
  const float* out[kQueryBlock] = {};
  const float* dout[kQueryBlock] = {};
  float* dq[kQueryBlock] = {};
};
struct KeyGradients {
  const Pointers* keys = nullptr;
  std::vector<float*>* dk = nullptr;
  std::vector<float*>* dv = nullptr;
};
void BackwardBlock(const QueryBlock& block, const BlockGradients& gradients,
                   const Pointers& key_tiles, const Pointers& value_tiles,
                   const KeyGradients& rows, const HeadRule& rule,
                   AttentionScratch& scratch);

}  // namespace align::kernels
