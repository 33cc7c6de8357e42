#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "align/base/status.h"
#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "align/train/reference.h"
#include "align/train/run_loop.h"

namespace align::train {

// What the log-probs that FrozenReference(model, temperature) gives depend on,
// down to the last bit and besides the tokens, as 32 hex digits: architecture,
// weights, adapters, precision, temperature, this program's arithmetic and the
// CPU's.
absl::StatusOr<std::string> ReferenceFingerprint(const Model& model,
                                                 double temperature = 1);

struct ScoringOptions {
  int64_t rows = 2048;         // tokens a forward pass, about
  std::function<bool()> stop;  // asked after each; empty: never stops
};

// The log-probs of one reference, in memory and in a file, scored before
// training, which then needs no reference (TRL's precompute_ref_log_probs). A
// sequence is known by its tokens, whatever batch it stands in. Owned by one
// thread.
class ReferenceCache {
 public:
  // With what DIRECTORY/FINGERPRINT.tfrecord holds; without that file, empty.
  // What is damaged is left out, with a warning, to be scored again.
  // kFailedPrecondition, and the file stays, if by its header it is another
  // model's or of another format: whoever moved it there may want it.
  static absl::StatusOr<ReferenceCache> Open(const std::string& directory,
                                             const std::string& fingerprint);

  const std::string& path() const { return path_; }
  int64_t sequences() const { return static_cast<int64_t>(known_->size()); }

  // Scores with `reference` what the batches have and the cache lacks, packed
  // anew, and returns how many sequences that were. The file is written at the
  // end, now and then, and before kCancelled, when `options.stop` says so: a
  // further call goes on from there. Errors are those of the source, of the
  // reference and of writing.
  absl::StatusOr<int64_t> Score(const ReferenceLogProbs& reference,
                                const Source<PackedBatch>& batches,
                                const ScoringOptions& options = {});

  // What is known; kFailedPrecondition for a batch with anything else. Holds
  // no model.
  ReferenceLogProbs LogProbs() const;

 private:
  ReferenceCache(std::string directory, std::string fingerprint);
  absl::Status Read();
  absl::Status Save() const;

  std::string directory_, fingerprint_, path_;
  std::shared_ptr<SequenceLogProbs> known_;
};

}  // namespace align::train
