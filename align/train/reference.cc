#include "align/train/reference.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
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
    const TokenScores scores =
        ScoreTokens(model.Hidden(batch.tokens, batch.segments), model.Head(),
                    batch.scored, {.temperature = temperature});
    return std::vector<float>(scores.log_probs().begin(),
                              scores.log_probs().end());
  };
}

ReferenceLogProbs CachedReference(ReferenceLogProbs reference) {
  using Cache = std::unordered_map<std::string, std::vector<float>>;
  return [reference = std::move(reference), cache = std::make_shared<Cache>()](
             const PackedBatch& batch) -> absl::StatusOr<std::vector<float>> {
    const std::vector<std::string> keys = SequenceKeys(batch);
    const std::vector<int64_t> offsets = batch.ScoredOffsets();
    if (!std::all_of(keys.begin(), keys.end(), [&](const std::string& key) {
          return cache->contains(key);
        })) {
      ALIGN_ASSIGN_OR_RETURN(const std::vector<float> fresh, reference(batch));
      for (size_t s = 0; s < keys.size(); ++s) {
        cache->try_emplace(keys[s], fresh.begin() + offsets[s],
                           fresh.begin() + offsets[s + 1]);
      }
    }
    std::vector<float> log_probs;
    log_probs.reserve(batch.scored.size());
    for (const std::string& key : keys) {
      const std::vector<float>& part = cache->at(key);
      log_probs.insert(log_probs.end(), part.begin(), part.end());
    }
    return log_probs;
  };
}

}  // namespace align::train
