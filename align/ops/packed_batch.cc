#include "align/ops/packed_batch.h"

#include "align/base/check.h"

namespace align {

std::vector<int32_t> RowsOf(std::span<const ScoredToken> scored) {
  std::vector<int32_t> rows;
  rows.reserve(scored.size());
  for (const ScoredToken& token : scored) rows.push_back(token.row);
  return rows;
}

int32_t PackedBatch::AppendPrompt(std::span<const int32_t> prompt) {
  ALIGN_CHECK(!prompt.empty()) << "[PackedBatch] empty prompt";
  tokens.insert(tokens.end(), prompt.begin(), prompt.end());
  return segments.Append(static_cast<int64_t>(prompt.size()));
}

int32_t PackedBatch::AppendCompletion(int32_t prefix,
                                      std::span<const int32_t> completion,
                                      std::span<const uint8_t> mask) {
  ALIGN_CHECK(mask.empty() || mask.size() == completion.size())
      << "[PackedBatch] mask of " << mask.size() << " for " << completion.size()
      << " tokens";
  const int32_t segment =
      segments.Append(static_cast<int64_t>(completion.size()), prefix);
  const Segment& before = segments[prefix];
  const int64_t begin = segments[segment].begin;
  int64_t row = before.begin + before.length - 1;
  for (size_t i = 0; i < completion.size(); ++i) {
    if (mask.empty() || mask[i] != 0) {
      scored.push_back({.row = static_cast<int32_t>(row),
                        .label = completion[i],
                        .sequence = sequences});
    }
    row = begin + static_cast<int64_t>(i);
  }
  tokens.insert(tokens.end(), completion.begin(), completion.end());
  last_rows.push_back(static_cast<int32_t>(row));
  return sequences++;
}

std::vector<int64_t> PackedBatch::ScoredOffsets() const {
  std::vector<int64_t> offsets(sequences + 1, 0);
  for (const ScoredToken& token : scored) ++offsets[token.sequence + 1];
  for (int32_t i = 0; i < sequences; ++i) offsets[i + 1] += offsets[i];
  return offsets;
}

}  // namespace align
