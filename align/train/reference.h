#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "align/base/status.h"
#include "align/models/model.h"
#include "align/ops/packed_batch.h"

namespace align::train {

// log p of every scored token of a batch, in its order [R], under a reference
// that is not trained.
using ReferenceLogProbs =
    std::function<absl::StatusOr<std::vector<float>>(const PackedBatch&)>;

// Scores with `model` itself, no gradients. It must outlive the function.
// `temperature` divides the logits.
ReferenceLogProbs FrozenReference(const Model& model, double temperature = 1);

// Remembers what `reference` gave, in memory, per sequence, and asks it for
// sequences that are new, alone: a batch without any costs no forward pass.
// Exact because a token's log-prob does not depend on how it is packed. The
// reference must not change. For use by one thread.
ReferenceLogProbs CachedReference(ReferenceLogProbs reference);

// The key of each sequence of `batch`: a hash of the tokens that its scores
// depend on and of what is scored, so that neither packing nor batch-mates nor
// order matter.
std::vector<std::string> SequenceKeys(const PackedBatch& batch);

// log p of the scored tokens of sequences, by their keys.
using SequenceLogProbs = std::unordered_map<std::string, std::vector<float>>;

// The sequences of `batch` that score something and are not in `known`, one of
// each key.
std::vector<int32_t> UnknownSequences(const PackedBatch& batch,
                                      const SequenceLogProbs& known);
// Appends these sequences of `from` to `into`, with what they continue; what
// several of them continue stands once.
void AppendSequences(const PackedBatch& from,
                     std::span<const int32_t> sequences, PackedBatch& into);
// Puts the scores of all sequences of `batch` into `known`.
absl::Status AddLogProbs(const ReferenceLogProbs& reference,
                         const PackedBatch& batch, SequenceLogProbs& known);
// Those of `batch` out of `known` [R]; kFailedPrecondition when one is missing.
absl::StatusOr<std::vector<float>> RecallLogProbs(
    const PackedBatch& batch, const SequenceLogProbs& known);

}  // namespace align::train
