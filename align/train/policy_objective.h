#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "align/train/coupled.h"
#include "align/train/run_loop.h"
#include "losses/policy.h"

namespace align::train {

// Sampled completions, each a sequence of `packed`, those of one prompt on one
// prompt segment. R are its scored tokens; a completion that teaches nothing
// may have none.
struct PolicyBatch {
  PackedBatch packed;
  std::vector<double> old_log_probs;        // [R] the sampler's, in nats
  std::vector<double> reference_log_probs;  // [R]; empty where no KL is taken
  std::vector<double> advantages;           // [sequences], or
  std::vector<double> token_advantages;     // [R]; one of the two is empty
  std::vector<std::string> ids;
  MetricSums rollout_metrics;  // passed on to the step's report
};

// A loss of losses/policy_registry.h with its options set.
struct NamedPolicyLoss {
  losses::PolicyLoss loss;
  losses::PolicyNeeds needs;  // with these options
  double beta = 0;            // the weight of the KL penalty in the loss
};

// The loss `name` with the options `values`, names and texts, over its
// defaults. kInvalidArgument says what is unknown or out of range and what is
// allowed.
absl::StatusOr<NamedPolicyLoss> MakePolicyLoss(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values = {});

struct PolicyObjectiveOptions {
  double temperature = 1;  // divides the logits, as in sampling
  // The most tokens that a completion may have: what dr_grpo divides by.
  int64_t max_completion_length = 0;
  bool entropy = false;  // also the metric, where the loss does not need it
};

// A micro-batch as the loss sees it, and what it adds to the report.
struct PolicyScores {
  losses::PolicyInputs inputs;
  std::vector<std::string> ids;
  MetricSums metrics;
};

// Any loss on sampled completions: one objective for all of them. Micro-batches
// of a step are joined before the loss is taken, so that averages over tokens,
// quantiles and the like are those of the whole step. Metrics by TRL's names:
// those of the loss (val/ratio, policy/approxkl_avg, kl, clip_ratio/..., ...),
// entropy, and num_tokens (distinct tokens that went through the model).
// `policy` must have gradients and outlive the objective. kInvalidArgument for
// arrays of another length than what they stand for, a reference that the loss
// needs and the batch lacks, or ids that the model does not have.
CoupledObjective<PolicyBatch, PolicyScores> PolicyObjective(
    const Model& policy, const NamedPolicyLoss& loss,
    const PolicyObjectiveOptions& options = {});

// How a loss that couples the completions of a step sees its micro-batches.
enum class PolicyCoupling {
  kGlobal,  // all at once, at the price of a second forward pass
  kMicro,   // each on its own, as TRL
};

// Micro-steps for RunLoop with the same `accumulation`. Losses that do not
// couple need one forward pass, and are exact either way: the loop divides by
// the weight of the whole step.
MicroSteps BindPolicy(Source<PolicyBatch> source, const Model& policy,
                      const NamedPolicyLoss& loss,
                      const PolicyObjectiveOptions& options,
                      int64_t accumulation,
                      PolicyCoupling coupling = PolicyCoupling::kGlobal);

}  // namespace align::train
