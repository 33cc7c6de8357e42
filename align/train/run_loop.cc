#include "align/train/run_loop.h"

#include <chrono>
#include <cmath>
#include <string>
#include <utility>

#include "align/base/log.h"
#include "align/base/profile.h"

namespace align::train {
namespace {

void Add(MetricSums& total, const MetricSums& part) {
  for (const auto& [name, metric] : part) {
    total[name].sum += metric.sum;
    total[name].weight += metric.weight;
  }
}

// The sum of up to `accumulation` micro-steps; `count` says how many came.
struct Accumulated {
  MicroStep sum;
  int64_t count = 0;
};

absl::StatusOr<Accumulated> Accumulate(const MicroSteps& micro_steps,
                                       int64_t accumulation) {
  const auto phase = ProfileScope::Phase("batch and loss");
  Accumulated result;
  while (result.count < accumulation) {
    ALIGN_ASSIGN_OR_RETURN(std::optional<MicroStep> step, micro_steps());
    if (!step.has_value()) break;
    ++result.count;
    result.sum.loss_sum += step->loss_sum;
    result.sum.weight += step->weight;
    Add(result.sum.metrics, step->metrics);
    result.sum.record_ids.insert(result.sum.record_ids.end(),
                                 step->record_ids.begin(),
                                 step->record_ids.end());
  }
  return result;
}

std::string Records(const std::vector<std::string>& ids) {
  constexpr size_t kMost = 8;
  std::string text;
  for (size_t i = 0; i < ids.size() && i < kMost; ++i) {
    text += (i > 0 ? ", " : "") + ids[i];
  }
  if (ids.size() > kMost) {
    text += " and " + std::to_string(ids.size() - kMost) + " more";
  }
  return text.empty() ? "unnamed" : text;
}

// The means of `sum`, with `grad_norm` that of the mean loss.
StepReport MakeReport(const MicroStep& sum, double grad_norm, int64_t step) {
  StepReport report;
  report.step = step;
  report.loss = sum.loss_sum / sum.weight;
  report.grad_norm = grad_norm;
  for (const auto& [name, metric] : sum.metrics) {
    if (metric.weight == 0) continue;
    report.metrics[name] =
        metric.weight < 0 ? metric.sum : metric.sum / metric.weight;
  }
  return report;
}

// Clips and steps, unless a number is not finite: then the gradients are
// dropped and the report says so.
StepReport Update(const RunLoopOptions& options, const MicroStep& sum,
                  const std::vector<ParamStore*>& stores, Optimizer& optimizer,
                  int64_t step) {
  const auto phase = ProfileScope::Phase("optimizer");
  const double grad_norm = GradientNorm(stores, options.norm) / sum.weight;
  StepReport report = MakeReport(sum, grad_norm, step);
  report.learning_rate = optimizer.learning_rate();
  // A weight of 0 makes the means NaN: nothing was scored, nothing to learn.
  report.skipped = !std::isfinite(report.loss) || !std::isfinite(grad_norm);
  if (report.skipped) {
    for (ParamStore* store : stores) store->ZeroGradients();
    LogWarning("step " + std::to_string(step) + " skipped: loss " +
               std::to_string(report.loss) + ", gradient norm " +
               std::to_string(grad_norm) + ", weight " +
               std::to_string(sum.weight) +
               "; records: " + Records(sum.record_ids));
    return report;
  }
  optimizer.Step(ClipScale(grad_norm, options.max_grad_norm) / sum.weight);
  return report;
}

absl::StatusOr<bool> Observe(const std::vector<Observer>& observers,
                             const StepReport& report) {
  const auto stage = ProfileScope::Stage("metrics and checkpoints");
  bool stop = false;
  for (const Observer& observer : observers) {
    ALIGN_ASSIGN_OR_RETURN(const ObserverResult result, observer(report));
    stop = stop || result.stop;
  }
  return stop;
}

}  // namespace

absl::StatusOr<RunResult> RunLoop(const RunLoopOptions& options,
                                  const MicroSteps& micro_steps,
                                  std::vector<ParamStore*> stores,
                                  Optimizer& optimizer,
                                  const std::vector<Observer>& observers,
                                  int64_t first_step) {
  using Clock = std::chrono::steady_clock;
  if (options.accumulation < 1) {
    return InvalidArgument("RunLoop: accumulation is " +
                           std::to_string(options.accumulation) +
                           "; expected at least 1");
  }
  RunResult result{.steps = first_step};
  int64_t skipped_in_a_row = 0;
  Clock::time_point before = Clock::now();
  while (!result.stopped &&
         (options.max_steps == 0 || result.steps < options.max_steps)) {
    ALIGN_ASSIGN_OR_RETURN(const Accumulated accumulated,
                           Accumulate(micro_steps, options.accumulation));
    if (accumulated.count == 0) break;
    ++result.steps;
    StepReport report =
        Update(options, accumulated.sum, stores, optimizer, result.steps);
    const Clock::time_point now = Clock::now();
    report.seconds = std::chrono::duration<double>(now - before).count();
    before = now;
    result.skipped += report.skipped ? 1 : 0;
    skipped_in_a_row = report.skipped ? skipped_in_a_row + 1 : 0;
    ALIGN_ASSIGN_OR_RETURN(result.stopped, Observe(observers, report));
    if (skipped_in_a_row > 0 && skipped_in_a_row >= options.max_skipped_steps) {
      return DataLoss("RunLoop: " + std::to_string(skipped_in_a_row) +
                      " steps in a row were not finite, the last is step " +
                      std::to_string(result.steps) + " with records " +
                      Records(accumulated.sum.record_ids) +
                      "; expected finite losses and gradients (a lower "
                      "learning rate often helps)");
    }
  }
  return result;
}

}  // namespace align::train
