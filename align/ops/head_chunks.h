#pragma once

// The logits of a language-model head a chunk of the vocabulary at a time: what
// the fused operations on whole distributions share. Not for other layers.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "align/base/profile.h"
#include "align/base/threads.h"
#include "align/kernels/bf16.h"
#include "align/ops/packed_weight.h"
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
// soft-capped, then divided by the temperature. Writes out [R, n].
void ComputeChunkLogits(const Tensor& rows, const LogitHead& head,
                        int64_t begin, int64_t n, double temperature,
                        float* out);

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

  // fill(row) makes a row of `dz`, [R, labels of the chunk], the gradient of
  // its raw logits; then adds what they mean to the gradients of rows and head,
  // where those have any. In bf16 `dz` goes once it is rounded: nothing else
  // should hold it.
  template <class Fill>
  void AddGradients(int64_t chunk, Tensor dz, const Fill& fill) const {
    const int64_t n = dz.dim(1);
    const bool bf16 = PrecisionOf(head_) == Precision::kBf16;
    const Storage rounded = bf16 ? AllocateBf16(count() * n) : Storage();
    {
      const ProfileScope scope("logit gradients", 0,
                               (bf16 ? 10.0 : 8.0) * dz.size());
      ForHeadRows(count(), [&](int64_t row) {
        fill(row);
        if (!bf16) return;  // a row is rounded while it is in the cache
        kernels::RoundToBf16(dz.data() + row * n, n, AsBf16(rounded) + row * n);
      });
    }
    if (bf16) dz = Tensor();
    AddProducts(chunk,
                ProductRows(bf16 ? nullptr : dz.data(), rounded, count(), n));
  }

 private:
  void AddProducts(int64_t chunk, const ProductRows& dz) const;

  Tensor rows_;
  LogitHead head_;
  double temperature_;
  std::vector<Tensor> kept_;  // by chunk, or empty
};

}  // namespace align
