#pragma once

#include "align/base/status.h"
#include "align/train/optimizer.h"
#include "align/train/run_loop.h"
#include "align/train/schedule.h"
#include "samplers/generate.h"

namespace align::pb {
class OptimizerConfig;
class SamplingConfig;
}  // namespace align::pb

namespace align {

// How a model is stepped: the option structs that a config fills.
struct StepSettings {
  train::AdamWOptions optimizer;
  train::ScheduleOptions schedule;
  double max_grad_norm = train::RunLoopOptions().max_grad_norm;
};

// The defaults of the option structs, overwritten by what `config` sets; the
// schedule ends at `steps`. kInvalidArgument names a key and its range.
absl::StatusOr<StepSettings> ReadOptimizer(const pb::OptimizerConfig& config,
                                           int64_t steps);

// The same for sampling. Stop ids are the caller's.
absl::StatusOr<samplers::SamplingOptions> ReadSampling(
    const pb::SamplingConfig& config);

}  // namespace align
