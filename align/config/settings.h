#pragma once

#include <cstdint>
#include <vector>

#include "align/base/status.h"
#include "align/text/tokenizer.h"
#include "align/train/group_rollout.h"
#include "align/train/optimizer.h"
#include "align/train/policy_objective.h"
#include "align/train/ppo_objective.h"
#include "align/train/ppo_rollout.h"
#include "align/train/run_loop.h"
#include "align/train/schedule.h"
#include "samplers/generate.h"

namespace align::pb {
class GrpoConfig;
class LossConfig;
class OptimizerConfig;
class PpoConfig;
class SamplingConfig;
}  // namespace align::pb

namespace align {

// How a model is stepped: the option structs that a config fills.
struct StepSettings {
  train::OptimizerOptions optimizer;
  train::ScheduleOptions schedule;
  double max_grad_norm = train::RunLoopOptions().max_grad_norm;
  train::NormKind norm = train::RunLoopOptions().norm;
};

// The defaults of the option structs, overwritten by what `config` sets; the
// schedule ends at `steps`. kInvalidArgument names a key and its range.
absl::StatusOr<StepSettings> ReadOptimizer(const pb::OptimizerConfig& config,
                                           int64_t steps);

// Floats that training a parameter with this rule holds: its value, its
// gradient and the optimizer's state; 4 for AdamW. Errors of ReadOptimizer.
absl::StatusOr<int64_t> TrainedCopies(const pb::OptimizerConfig& config);

// The same for sampling. Stop ids are the caller's.
absl::StatusOr<samplers::SamplingOptions> ReadSampling(
    const pb::SamplingConfig& config);

// The same for training on what is sampled, where ratios need log-probs that
// are the scorer's to the bit: also refuses an absorbed cache.
absl::StatusOr<samplers::SamplingOptions> ReadRolloutSampling(
    const pb::SamplingConfig& config);

// What ends a reply: EOS, and BOS, because a model that was trained on a stream
// of texts starts the next one instead.
std::vector<int32_t> StopIds(const Tokenizer& tokenizer);

// How PPO samples, learns and where its values come from.
struct PpoSettings {
  train::PpoRolloutOptions rollout;
  train::PpoObjectiveOptions objective;
  bool shared_critic = false;   // a value head on the policy's trunk
  bool zero_value_head = true;  // else drawn: see ValueHead
};

// The same for PPO, whose objective scores at the sampling `temperature`: more
// than 0.
absl::StatusOr<PpoSettings> ReadPpo(const pb::PpoConfig& config,
                                    double temperature);

// How GRPO and its kin sample, compare and learn.
struct GrpoSettings {
  train::GroupRolloutOptions rollout;
  train::NamedAdvantage advantage;
  train::NamedPolicyLoss loss;
  train::PolicyObjectiveOptions objective;
  train::PolicyCoupling coupling = train::PolicyCoupling::kGlobal;

  bool needs_reference() const {
    return loss.needs.reference || rollout.kl_coef > 0;
  }
};

// The same for the policy losses, with names filled in. The objective scores
// what `sampling` samples, whose temperature must be more than 0.
absl::StatusOr<GrpoSettings> ReadGrpo(
    const pb::GrpoConfig& config, const pb::LossConfig& loss,
    const samplers::SamplingOptions& sampling);

// Writes the defaults of what is unset into the config.
void FillDefaults(pb::SamplingConfig& config);
void FillDefaults(pb::PpoConfig& config);
void FillDefaults(pb::GrpoConfig& config);

}  // namespace align
