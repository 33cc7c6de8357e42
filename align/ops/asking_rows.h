#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "align/kernels/attention.h"
#include "align/ops/ops.h"
#include "align/ops/segments.h"

namespace align {

// What Attention and CachedAttention share: who asks, and how a block of
// queries is answered.

kernels::HeadRule HeadRuleOf(const AttentionShape& shape);

// The query vectors that share one key/value head: vector i is head i % group
// of row i / group of the rows [begin, begin + rows) of q, the first of which
// stands at `position`.
struct QueryRange {
  int64_t begin, rows, position;
  int64_t kv_head, group, heads, window;
  // Where they are not neighbours: their rows in the batch.
  const int32_t* asking = nullptr;

  int64_t count() const { return rows * group; }
  int64_t Position(int64_t row) const {
    return position + (asking == nullptr ? row : asking[row] - asking[0]);
  }
  // Of vector i in rows of `heads` vectors of `dim` floats.
  int64_t Offset(int64_t i, int64_t dim) const {
    return ((begin + i / group) * heads + kv_head * group + i % group) * dim;
  }
  // Of at most kQueryBlock vectors of q from the `first` on.
  kernels::QueryBlock Block(const float* q, int64_t dim, int64_t first) const;
  // How many keys the rows see in all.
  double VisibleKeys() const;
};

// The rows of a batch that ask, which alone have rows in q: all `rows`, or
// those of a list, rising.
class AskingRows {
 public:
  AskingRows(int64_t rows, std::span<const int32_t> asking);

  // How many there are in the batch, and how many of them ask.
  int64_t rows() const { return rows_; }
  int64_t count() const {
    return asking_.empty() ? rows_ : static_cast<int64_t>(asking_.size());
  }
  // Those of a segment, at one key/value head; valid as long as this object.
  QueryRange Range(const Segment& segment, int64_t kv_head,
                   const AttentionShape& shape) const;

 private:
  int64_t rows_;
  std::vector<int32_t> asking_;
};

// The attention of the range's vectors of q over tiles of keys and rows of
// values, into the same vectors of `out`.
void AttendRange(const QueryRange& range, const float* q,
                 const kernels::Pointers& key_tiles,
                 const kernels::Pointers& values, const kernels::HeadRule& rule,
                 kernels::AttentionScratch& scratch, float* out);

// Operations of so many inner products of a query's and of a value's width, for
// every visible key and head.
double ProductFlops(double visible, int64_t of_queries, int64_t of_values,
                    const AttentionShape& shape);

}  // namespace align
