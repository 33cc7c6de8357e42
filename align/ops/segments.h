#pragma once

#include <cstdint>
#include <vector>

namespace align {

// A run of consecutive rows of a packed batch: the tokens of one prompt, or of
// one completion that continues an earlier segment.
struct Segment {
  int64_t begin = 0;     // first row in the batch
  int64_t length = 0;    // rows
  int32_t prefix = -1;   // earlier segment that this one continues; -1: none
  int64_t position = 0;  // absolute position of the first token
};

// How N packed rows are cut. Segments tile [0, N) in order; a prefix stands
// before every segment that continues it. A token sees its own segment up to
// itself and the whole of each prefix in the chain.
class Segments {
 public:
  // Appends `length` rows (>= 0) and returns the new segment's index. `prefix`
  // names an earlier segment, or is -1 for a segment that starts at position 0.
  int32_t Append(int64_t length, int32_t prefix = -1);

  const std::vector<Segment>& list() const { return list_; }
  const Segment& operator[](int32_t index) const { return list_[index]; }
  int32_t count() const { return static_cast<int32_t>(list_.size()); }
  int64_t rows() const { return rows_; }

  // The absolute position of every row, N values.
  std::vector<int32_t> Positions() const;
  // The chain of `index`: outermost prefix first, `index` last.
  std::vector<int32_t> Chain(int32_t index) const;
  // The segments that none continues, in order: the ends of whole sequences.
  std::vector<int32_t> Leaves() const;
  // For each segment the index of its outermost prefix. Segments of different
  // roots share no rows.
  std::vector<int32_t> Roots() const;

 private:
  std::vector<Segment> list_;
  int64_t rows_ = 0;
};

}  // namespace align
