#pragma once

#include <functional>
#include <memory>
#include <string>
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

// Remembers what `reference` gave, in memory, per sequence: the key is a hash
// of the tokens that a sequence's scores depend on and of what is scored, so
// that neither packing nor batch-mates nor order matter. A batch whose
// sequences are all known costs no forward pass. Exact because a token's
// log-prob does not depend on how it is packed. The reference must not change.
// For use by one thread.
ReferenceLogProbs CachedReference(ReferenceLogProbs reference);

// The key of each sequence of `batch`: what its scores depend on.
std::vector<std::string> SequenceKeys(const PackedBatch& batch);

}  // namespace align::train
