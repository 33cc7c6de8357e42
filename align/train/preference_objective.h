#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/train/reference.h"
#include "align/train/run_loop.h"
#include "losses/pair.h"

namespace align::train {

// A member of the DPO family that does not couple the pairs of a batch, with
// its options set.
struct NamedPairLoss {
  losses::PairLoss loss;
  losses::PairNeeds needs;  // with these options
  double beta = 0;          // what implicit rewards are scaled by
};

// The loss `name` of losses/registry.h with the options `values`, names and
// texts, over its defaults. kInvalidArgument says what is unknown or out of
// range and what is allowed.
absl::StatusOr<NamedPairLoss> MakePairLoss(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values = {});

struct PreferenceOptions {
  bool statistics = false;  // also logits/{chosen,rejected}
  bool entropy = false;     // also the mean entropy, in nats
};

// The loss summed over pairs; the weight is the number of pairs. The gradient
// of a reply's log-prob is the seed of each of its tokens. Metrics by TRL's
// names: rewards/{chosen,rejected,margins,accuracies}, logps/{chosen,rejected},
// nll_loss (of the chosen replies, per token: an alarm, not optimised),
// num_tokens, and what the options ask for. `model` must have gradients and
// outlive the objective. Returns kInvalidArgument for ids that the model does
// not have or a batch that is not made of pairs.
Objective<PreferenceBatch> PreferenceObjective(
    const Model& model, ReferenceLogProbs reference, losses::PairLoss loss,
    const PreferenceOptions& options = {});

// Whether a first step, taken where the policy still is the reference, has
// margins of 0 and, when given, the loss `expected_loss` (ln 2 for sigmoid):
// kFailedPrecondition says what differs by more than `tolerance`. It catches a
// reference that is another model, was scored at another temperature or comes
// from a stale cache.
absl::Status CheckInitialPreferenceStep(const StepReport& report,
                                        std::optional<double> expected_loss,
                                        double tolerance = 1e-6);

}  // namespace align::train
