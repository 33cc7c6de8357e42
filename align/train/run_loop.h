#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/nn/param_store.h"
#include "align/train/optimizer.h"

namespace align::train {

// A quantity on its way to a mean: sums leave with their denominators. With a
// negative weight it is a total, reported as it is.
struct MetricSum {
  double sum = 0;
  double weight = 0;
};
inline MetricSum Total(double sum) { return {.sum = sum, .weight = -1}; }
using MetricSums = std::map<std::string, MetricSum>;

// What one micro-batch contributed. Its gradients, of the *sum* of the loss,
// are already added into the parameter stores.
struct MicroStep {
  double loss_sum = 0;
  double weight =
      0;  // pairs, sequences or tokens: what the loss is a mean over
  MetricSums metrics;
  std::vector<std::string> record_ids;  // named when a step is not finite
};

// Computes the next micro-batch and its gradients; nullopt: the source is
// exhausted. MicroSteps is all the loop knows of data and method.
using MicroSteps = std::function<absl::StatusOr<std::optional<MicroStep>>()>;

// A source yields batches; an objective turns one into a MicroStep.
template <class Batch>
using Source = std::function<absl::StatusOr<std::optional<Batch>>()>;
template <class Batch>
using Objective = std::function<absl::StatusOr<MicroStep>(const Batch&)>;

template <class Batch>
MicroSteps Bind(Source<Batch> source, Objective<Batch> objective) {
  return [source = std::move(source), objective = std::move(objective)]()
             -> absl::StatusOr<std::optional<MicroStep>> {
    absl::StatusOr<std::optional<Batch>> batch = source();
    if (!batch.ok()) return batch.status();
    if (!batch->has_value()) return std::optional<MicroStep>();
    absl::StatusOr<MicroStep> step = objective(**batch);
    if (!step.ok()) return step.status();
    return std::optional<MicroStep>(*std::move(step));
  };
}

struct RunLoopOptions {
  int64_t max_steps = 0;     // optimizer steps; 0: until the source ends
  int64_t accumulation = 1;  // micro-batches per step
  double max_grad_norm = 1;  // over all stores together; 0: no clipping
  NormKind norm = NormKind::kEuclidean;  // the one that is clipped
  int64_t max_skipped_steps = 5;  // non-finite steps in a row before stopping
};

// One optimizer step, as observers see it. Metrics are already means.
struct StepReport {
  int64_t step = 0;  // counted from 1
  double loss = 0;
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  double seconds = 0;  // since the previous report
  bool skipped = false;
  std::map<std::string, double> metrics;
};

// Called after every step, in order; an error stops the run, and `stop` ends it
// in order after this step.
struct ObserverResult {
  bool stop = false;
};
using Observer =
    std::function<absl::StatusOr<ObserverResult>(const StepReport&)>;

struct RunResult {
  int64_t steps = 0;  // the step count reached, earlier runs included
  int64_t skipped = 0;
  bool stopped = false;  // by an observer
};

// Accumulates `accumulation` micro-steps, divides the summed gradients once by
// the summed weight, clips, steps the optimizer, reports. A step whose loss or
// gradient is not finite is skipped: the optimizer never sees it, its records
// are logged, and the run ends with kDataLoss after max_skipped_steps in a row.
// `first_step` is how many steps were done before (resume).
absl::StatusOr<RunResult> RunLoop(const RunLoopOptions& options,
                                  const MicroSteps& micro_steps,
                                  std::vector<ParamStore*> stores,
                                  Optimizer& optimizer,
                                  const std::vector<Observer>& observers,
                                  int64_t first_step = 0);

}  // namespace align::train
