#pragma once

// The logits of a language-model head a chunk of the vocabulary at a time: what
// the fused operations on whole distributions share. Not for other layers.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "align/base/threads.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tensor.h"

namespace align {

// Chunks stand at fixed places, so that a row's sums have one order.
inline constexpr int64_t kHeadChunk = 4096;

// body(row) for every row, in parallel.
template <class Body>
void ForHeadRows(int64_t count, const Body& body) {
  constexpr int64_t kRowBlock = 16;
  ParallelFor((count + kRowBlock - 1) / kRowBlock, [&](int64_t block) {
    const int64_t end = std::min(count, (block + 1) * kRowBlock);
    for (int64_t row = block * kRowBlock; row < end; ++row) body(row);
  });
}

// Scaled logits of rows [R, D] for the labels [begin, begin + n) of a head:
// soft-capped, then divided by the temperature. Writes out [R, n] with `stride`
// floats from row to row.
void ComputeChunkLogits(const Tensor& rows, const LogitHead& head,
                        int64_t begin, int64_t n, double temperature,
                        float* out, int64_t stride);

// R rows, D wide, under a head of V labels. Logits of chunks are kept, or
// computed anew with the same bits whenever they are asked for.
class HeadChunks {
 public:
  // `rows` [R, D] are those that are scored, `head` is [V, D].
  HeadChunks(Tensor rows, const LogitHead& head, double temperature)
      : rows_(std::move(rows)), head_(head), temperature_(temperature) {}

  const Tensor& rows() const { return rows_; }
  const LogitHead& head() const { return head_; }
  double temperature() const { return temperature_; }
  int64_t count() const { return rows_.dim(0); }
  int64_t vocab() const { return head_.dim(0); }
  int64_t chunks() const { return (vocab() + kHeadChunk - 1) / kHeadChunk; }
  // Of all logits in f32.
  int64_t bytes() const {
    return count() * vocab() * static_cast<int64_t>(sizeof(float));
  }

  // Scaled logits of one chunk, [R, labels of the chunk].
  Tensor Logits(int64_t chunk) const;
  // Keeps what Logits gave for `chunk` from now on; from the first chunk to the
  // last.
  void Keep(Tensor logits) { kept_.push_back(std::move(logits)); }
  // Gives back what was kept of a chunk, if anything.
  void Drop(int64_t chunk) {
    if (!kept_.empty()) kept_[chunk] = Tensor();
  }
  void DropAll() { kept_.clear(); }

  // `gradients` are those of a chunk's raw logits, [R, labels of the chunk]:
  // adds what they mean to the gradients of rows and head, where those have
  // any.
  void AddGradients(int64_t chunk, const Tensor& gradients) const;

 private:
  Tensor rows_;
  LogitHead head_;
  double temperature_;
  std::vector<Tensor> kept_;  // by chunk, or empty
};

}  // namespace align
