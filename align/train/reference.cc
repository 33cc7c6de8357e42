#include "align/train/reference.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "align/base/files.h"
#include "align/base/profile.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"

namespace align::train {
namespace {

void AppendNumber(std::string& key, int32_t number) {
  key.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

// The segment of every row.
std::vector<int32_t> SegmentOfRow(const Segments& segments) {
  std::vector<int32_t> owner(segments.rows());
  for (int32_t s = 0; s < segments.count(); ++s) {
    std::fill_n(owner.begin() + segments[s].begin, segments[s].length, s);
  }
  return owner;
}

}  // namespace

std::vector<std::string> SequenceKeys(const PackedBatch& batch) {
  const std::vector<int32_t> owner = SegmentOfRow(batch.segments);
  const std::vector<int32_t> positions = batch.segments.Positions();
  const std::vector<int64_t> offsets = batch.ScoredOffsets();
  std::vector<std::string> keys;
  for (int32_t s = 0; s < batch.sequences; ++s) {
    std::string key;
    for (int64_t i = offsets[s]; i < offsets[s + 1]; ++i) {
      AppendNumber(key, positions[batch.scored[i].row]);
      AppendNumber(key, batch.scored[i].label);
    }
    if (offsets[s] < offsets[s + 1]) {
      AppendNumber(key, -1);  // no position: what follows are the tokens seen
      const int32_t row = batch.scored[offsets[s + 1] - 1].row;
      for (int32_t index : batch.segments.Chain(owner[row])) {
        const Segment& segment = batch.segments[index];
        const int64_t end =
            std::min<int64_t>(segment.begin + segment.length, row + 1);
        for (int64_t r = segment.begin; r < end; ++r) {
          AppendNumber(key, batch.tokens[r]);
        }
      }
    }
    keys.push_back(ContentHash(key));
  }
  return keys;
}

ReferenceLogProbs FrozenReference(const Model& model, double temperature) {
  return [&model, temperature](
             const PackedBatch& batch) -> absl::StatusOr<std::vector<float>> {
    if (batch.scored.empty()) return std::vector<float>();
    ALIGN_RETURN_IF_ERROR(model.CheckTokens(batch.tokens, batch.segments));
    const auto stage = ProfileScope::Stage("reference");
    const NoGrad no_grad;
    const TokenScores scores = ScoreTokens(
        model.Hidden(batch.tokens, batch.segments, RowsOf(batch.scored)),
        model.Head(), batch.scored, {.temperature = temperature});
    return std::vector<float>(scores.log_probs().begin(),
                              scores.log_probs().end());
  };
}

ReferenceLogProbs CachedReference(ReferenceLogProbs reference) {
  return [reference = std::move(reference),
          known = std::make_shared<SequenceLogProbs>()](
             const PackedBatch& batch) -> absl::StatusOr<std::vector<float>> {
    PackedBatch fresh;
    AppendSequences(batch, UnknownSequences(batch, *known), fresh);
    if (fresh.sequences > 0) {
      ALIGN_RETURN_IF_ERROR(AddLogProbs(reference, fresh, *known));
    }
    return RecallLogProbs(batch, *known);
  };
}

std::vector<int32_t> UnknownSequences(const PackedBatch& batch,
                                      const SequenceLogProbs& known) {
  const std::vector<std::string> keys = SequenceKeys(batch);
  const std::vector<int64_t> offsets = batch.ScoredOffsets();
  std::unordered_set<std::string> seen;
  std::vector<int32_t> unknown;
  for (int32_t s = 0; s < batch.sequences; ++s) {
    const auto scored = static_cast<size_t>(offsets[s + 1] - offsets[s]);
    if (scored == 0) continue;
    const auto found = known.find(keys[s]);
    if (found != known.end() && found->second.size() == scored) continue;
    if (seen.insert(keys[s]).second) unknown.push_back(s);
  }
  return unknown;
}

void AppendSequences(const PackedBatch& from,
                     std::span<const int32_t> sequences, PackedBatch& into) {
  const std::vector<int32_t> owner = SegmentOfRow(from.segments);
  const std::vector<int64_t> offsets = from.ScoredOffsets();
  std::vector<int32_t> copies(from.segments.count(), -1);  // in `into`
  const auto row_of = [&](int32_t row) {
    const int32_t segment = owner[row];
    return static_cast<int32_t>(row - from.segments[segment].begin +
                                into.segments[copies[segment]].begin);
  };
  for (const int32_t s : sequences) {
    for (const int32_t index : from.segments.Chain(owner[from.last_rows[s]])) {
      if (copies[index] >= 0) continue;
      const Segment& segment = from.segments[index];
      copies[index] = into.segments.Append(
          segment.length,
          segment.prefix < 0 ? segment.prefix : copies[segment.prefix]);
      const auto begin = from.tokens.begin() + segment.begin;
      into.tokens.insert(into.tokens.end(), begin, begin + segment.length);
    }
    for (int64_t i = offsets[s]; i < offsets[s + 1]; ++i) {
      const ScoredToken& token = from.scored[i];
      into.scored.push_back({.row = row_of(token.row),
                             .label = token.label,
                             .sequence = into.sequences});
    }
    into.last_rows.push_back(row_of(from.last_rows[s]));
    ++into.sequences;
  }
}

absl::Status AddLogProbs(const ReferenceLogProbs& reference,
                         const PackedBatch& batch, SequenceLogProbs& known) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<float> log_probs, reference(batch));
  const std::vector<std::string> keys = SequenceKeys(batch);
  const std::vector<int64_t> offsets = batch.ScoredOffsets();
  for (int32_t s = 0; s < batch.sequences; ++s) {
    known.insert_or_assign(
        keys[s], std::vector<float>(log_probs.begin() + offsets[s],
                                    log_probs.begin() + offsets[s + 1]));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> RecallLogProbs(
    const PackedBatch& batch, const SequenceLogProbs& known) {
  const std::vector<std::string> keys = SequenceKeys(batch);
  const std::vector<int64_t> offsets = batch.ScoredOffsets();
  std::vector<float> log_probs;
  log_probs.reserve(batch.scored.size());
  for (int32_t s = 0; s < batch.sequences; ++s) {
    const auto scored = static_cast<size_t>(offsets[s + 1] - offsets[s]);
    if (scored == 0) continue;
    const auto found = known.find(keys[s]);
    if (found == known.end() || found->second.size() != scored) {
      return FailedPrecondition(
          "reference log-probs: sequence " + std::to_string(s) + " of " +
          std::to_string(batch.sequences) + " is not among the " +
          std::to_string(known.size()) +
          " that were scored; expected the same data");
    }
    log_probs.insert(log_probs.end(), found->second.begin(),
                     found->second.end());
  }
  return log_probs;
}

}  // namespace align::train
