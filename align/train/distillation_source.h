#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/data/examples.h"
#include "align/data/loader.h"
#include "align/models/model.h"
#include "align/train/distillation_objective.h"
#include "samplers/generate.h"

namespace align::train {

struct DistillationSourceOptions {
  LoaderOptions loader;
  int64_t accumulation = 1;  // batches of a step
  // Share of the steps whose replies the student samples, in [0, 1].
  double lmbda = 0.5;
  // The teacher samples those of the other steps (sequence-level KD, Kim and
  // Rush 2016); else the records' own are taken.
  bool seq_kd = false;
  samplers::SamplingOptions sampling;
};

// Where a source stands between two steps.
struct DistillationState {
  LoaderPosition position;
  int64_t batches = 0;  // given out so far
};

// Batches for DistillationObjective, from the examples in shuffled order.
// Before each step a coin says who writes the replies to its prompts (Agarwal
// et al. 2023, algorithm 1; TRL tosses one a micro-batch): the student as it is
// then, with probability lmbda, or else the teacher or the records. A sampled
// reply depends on its writer, its example and the epoch alone, not on how a
// step is cut into batches. For use by one thread.
//
// Batches of sampled replies carry completions/mean_length and
// completions/clipped_ratio, the share that ran into max_new_tokens.
class DistillationSource {
 public:
  // Examples may lack a completion where no record's reply is ever taken. Both
  // models must outlive the source; Generate polls `stop`. kInvalidArgument for
  // options out of range, without examples, or for one without a reply that is
  // needed.
  static absl::StatusOr<std::unique_ptr<DistillationSource>> Create(
      std::vector<SftExample> examples, const Model& student,
      const Model& teacher, const DistillationSourceOptions& options,
      const Rng& rng, std::function<bool()> stop = nullptr);

  // The next batch; nullopt after the last epoch. Errors are those of Generate;
  // they leave the source where it was.
  absl::StatusOr<std::optional<DistillationBatch>> Next();

  // Where the last step ended that was given out whole.
  DistillationState state() const;
  absl::Status set_state(const DistillationState& state);
  // Passes over the examples so far.
  double epoch() const;

 private:
  DistillationSource(std::vector<SftExample> examples, const Model& student,
                     const Model& teacher,
                     const DistillationSourceOptions& options, const Rng& rng,
                     std::function<bool()> stop, BatchCursor cursor);

  ReplyAuthor AuthorOfStep(int64_t step) const;
  absl::StatusOr<DistillationBatch> Sample(std::span<const int64_t> indices,
                                           ReplyAuthor author) const;

  std::vector<SftExample> examples_;
  const Model& student_;
  const Model& teacher_;
  DistillationSourceOptions options_;
  Rng rng_;
  std::function<bool()> stop_;
  BatchCursor cursor_;
  int64_t batches_ = 0;
  DistillationState step_start_;
};

}  // namespace align::train
