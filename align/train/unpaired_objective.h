#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/train/coupled.h"
#include "align/train/reference.h"
#include "losses/running_moments.h"
#include "losses/unpaired_registry.h"

namespace align::train {

// A loss on single replies and what it must be given: of
// losses/unpaired_registry.h, or anybody's.
struct NamedUnpairedLoss {
  losses::UnpairedLoss loss;
  losses::UnpairedNeeds needs = {};  // with its options
  double beta = 0;                   // what implicit rewards are scaled by
  // If needs.coupled: what it sees at a time.
  losses::Coupling coupling = losses::Coupling::kGlobal;
};

// The loss `name` of losses/unpaired_registry.h with the options `values`,
// names and texts, over its defaults. kInvalidArgument says what is unknown or
// out of range and what is allowed.
absl::StatusOr<NamedUnpairedLoss> MakeUnpairedLoss(
    const std::string& name, const losses::OptionValues& values = {});

// One micro-batch of replies as its loss sees it.
struct UnpairedScores {
  losses::UnpairedInputs inputs;
  std::vector<int32_t> rows;  // of the first outputs, one each
  size_t outputs = 0;         // those after `rows` have no loss
  MicroStep step;  // record ids, weight and metrics; all but the loss's part
};

struct UnpairedOptions {
  bool statistics = false;  // also logits/{chosen,rejected}
  bool entropy = false;     // also the mean entropy, in nats
  // The state of losses with needs.moments, kept by the caller, who saves it
  // with checkpoints; must outlive the objective. Null: the objective's own.
  losses::RunningMoments* moments = nullptr;
};

// The loss summed over replies; the weight is the number of replies. A token's
// seed is the gradient of its reply's log-prob; mismatched replies are scored
// and have none. Metrics by TRL's names, "chosen" being the desirable ones:
// rewards/{chosen,rejected}, logps/{chosen,rejected}, num_tokens, what the
// options ask for, and of what the loss sees at a time rewards/margins (if both
// kinds are there) and kl or delta, what rewards are compared with. A loss that
// couples replies sees all of a step, or a micro-batch if its `coupling` says
// so: BindCoupled. `model` must have gradients and outlive the objective;
// `reference` may be null if the loss needs none. Returns kInvalidArgument for
// ids that the model does not have or a batch without what the loss needs.
CoupledObjective<UnpairedBatch, UnpairedScores> UnpairedObjective(
    const Model& model, ReferenceLogProbs reference, NamedUnpairedLoss loss,
    const UnpairedOptions& options = {});

}  // namespace align::train
