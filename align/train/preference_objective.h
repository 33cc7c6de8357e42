#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/train/reference.h"
#include "align/train/run_loop.h"

namespace align::train {

// What a pair loss sees: per pair, log-probs summed over the reply, in nats.
struct PairScores {
  std::vector<double> chosen, rejected;
  std::vector<double> reference_chosen, reference_rejected;
  std::vector<double> chosen_tokens, rejected_tokens;  // scored, EOS included
};

// Per pair: the loss, its derivative by the policy's two log-probs, and the
// implicit rewards, which are only reported.
struct PairLossValues {
  std::vector<double> loss;
  std::vector<double> chosen_seed, rejected_seed;
  std::vector<double> chosen_reward, rejected_reward;
};

// Any member of the DPO family that does not couple the pairs of a batch.
using PairLoss = std::function<PairLossValues(const PairScores&)>;

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
    const Model& model, ReferenceLogProbs reference, PairLoss loss,
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
