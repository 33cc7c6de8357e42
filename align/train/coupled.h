#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/tensor/tape.h"
#include "align/train/run_loop.h"

namespace align::train {

// The model's part of a micro-batch: what the loss reads, and the way back.
template <class Scores>
struct ForwardPass {
  Scores scores;
  // Walks the tape from d(loss) / d(output), one float an output, and adds to
  // the gradients; `step` is the batch's share, to which the pass adds a loss
  // of its own, if it has one. At most once; never for a pass made under
  // NoGrad.
  std::function<void(std::span<const float> seed, MicroStep& step)> backward;
};

// The loss's part of a micro-batch: its share of the step, and the seed of its
// outputs.
struct SeededStep {
  MicroStep step;
  std::vector<float> seed;
};

// An objective whose loss may couple the micro-batches of a step: it sorts
// them, subtracts a mean of theirs or divides by what all of them count.
// `forward` runs the model, with a tape unless NoGrad is on; `evaluate` is
// called once per step with the scores of all its micro-batches and returns as
// many shares, the loss sums of which add up to the step's.
template <class Batch, class Scores>
struct CoupledObjective {
  std::function<absl::StatusOr<ForwardPass<Scores>>(const Batch&)> forward;
  std::function<absl::StatusOr<std::vector<SeededStep>>(
      std::span<const Scores>)>
      evaluate;
  // False: `evaluate` is to see each micro-batch alone, because the loss does
  // not couple them or should not.
  bool whole_step = true;
};

// One forward pass, the loss of that micro-batch alone, and back. For losses
// that do not couple, or that should see a micro-batch at a time as TRL's do.
template <class Batch, class Scores>
Objective<Batch> PerMicroBatch(CoupledObjective<Batch, Scores> objective) {
  return [objective = std::move(objective)](
             const Batch& batch) -> absl::StatusOr<MicroStep> {
    ALIGN_ASSIGN_OR_RETURN(ForwardPass<Scores> pass, objective.forward(batch));
    ALIGN_ASSIGN_OR_RETURN(
        std::vector<SeededStep> shares,
        objective.evaluate(std::span<const Scores>(&pass.scores, 1)));
    pass.backward(shares.at(0).seed, shares[0].step);
    return std::move(shares[0].step);
  };
}

// A step's micro-batches whose loss is known, waiting for their gradients.
template <class Batch>
struct PendingStep {
  std::vector<Batch> batches;
  std::vector<SeededStep> shares;
  size_t next = 0;
};

// Takes up to `accumulation` batches off the source, scores each without
// gradients and evaluates the loss once on all of them.
template <class Batch, class Scores>
absl::StatusOr<PendingStep<Batch>> ScoreStep(
    const Source<Batch>& source,
    const CoupledObjective<Batch, Scores>& objective, int64_t accumulation) {
  const NoGrad no_grad;
  PendingStep<Batch> pending;
  std::vector<Scores> scores;
  while (static_cast<int64_t>(scores.size()) < accumulation) {
    ALIGN_ASSIGN_OR_RETURN(std::optional<Batch> batch, source());
    if (!batch.has_value()) break;
    ALIGN_ASSIGN_OR_RETURN(ForwardPass<Scores> pass, objective.forward(*batch));
    scores.push_back(std::move(pass.scores));
    pending.batches.push_back(*std::move(batch));
  }
  if (scores.empty()) return pending;
  ALIGN_ASSIGN_OR_RETURN(pending.shares, objective.evaluate(scores));
  return pending;
}

// Micro-steps for RunLoop with the same `accumulation`: exact, whatever the
// loss couples, so that 8 x 1 equals 1 x 8. A step of several micro-batches
// costs a second forward pass, and its batches are held until it is done. An
// objective that needs no whole step costs neither.
template <class Batch, class Scores>
MicroSteps BindCoupled(std::type_identity_t<Source<Batch>> source,
                       CoupledObjective<Batch, Scores> objective,
                       int64_t accumulation) {
  if (accumulation <= 1 || !objective.whole_step) {
    return Bind<Batch>(std::move(source), PerMicroBatch(std::move(objective)));
  }
  const auto pending = std::make_shared<PendingStep<Batch>>();
  return [source = std::move(source), objective = std::move(objective),
          accumulation, pending]() -> absl::StatusOr<std::optional<MicroStep>> {
    if (pending->next == pending->batches.size()) {
      ALIGN_ASSIGN_OR_RETURN(*pending,
                             ScoreStep(source, objective, accumulation));
      if (pending->batches.empty()) return std::optional<MicroStep>();
    }
    const size_t i = pending->next++;
    ALIGN_ASSIGN_OR_RETURN(ForwardPass<Scores> pass,
                           objective.forward(pending->batches[i]));
    SeededStep& share = pending->shares.at(i);
    pass.backward(share.seed, share.step);
    return std::optional<MicroStep>(std::move(share.step));
  };
}

}  // namespace align::train
