#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "align/ops/segments.h"

namespace align {

// One log-probability to compute: that of `label` given the tokens up to and
// with hidden row `row`; it belongs to sequence `sequence`.
struct ScoredToken {
  int32_t row = 0;
  int32_t label = 0;
  int32_t sequence = 0;
};

// The row of each.
std::vector<int32_t> RowsOf(std::span<const ScoredToken> scored);

// N tokens laid end to end without padding, cut into segments, and the explicit
// list of what is scored. A *sequence* is one completion; its scored tokens
// stand together, in order, and sequences are numbered 0..sequences-1.
struct PackedBatch {
  std::vector<int32_t> tokens;      // [N]
  Segments segments;                // tiles the N rows
  std::vector<ScoredToken> scored;  // [R], grouped by sequence, in order
  int32_t sequences = 0;
  // Row of each sequence's last token, where a reward model reads its score.
  std::vector<int32_t> last_rows;  // [sequences]

  int64_t rows() const { return segments.rows(); }

  // Appends a prompt segment and returns its index. The prompt must have at
  // least one token, because its last row scores each first completion token.
  int32_t AppendPrompt(std::span<const int32_t> prompt);
  // Appends a completion of segment `prefix` and scores those of its tokens
  // whose mask is not 0 (all when `mask` is empty; otherwise one entry a
  // token). Returns the sequence's index. An empty completion is allowed: it
  // scores nothing and its last row is the prefix' last.
  int32_t AppendCompletion(int32_t prefix, std::span<const int32_t> completion,
                           std::span<const uint8_t> mask = {});
  // Offsets of each sequence in `scored`: sequences + 1 values.
  std::vector<int64_t> ScoredOffsets() const;
};

}  // namespace align
