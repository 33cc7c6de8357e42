#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/train/pair_scores.h"
#include "align/train/run_loop.h"
#include "losses/pair_mix.h"
#include "losses/running_moments.h"

namespace align::train {

// A loss on pairs and what it must be given: of losses/registry.h, a weighted
// sum of such, or anybody's: {.loss = f, .needs = {.reference = true}}.
struct NamedPairLoss {
  losses::PairLoss loss;
  losses::PairNeeds needs = {};  // with its options
  double beta = 0;               // what implicit rewards are scaled by
  // If needs.coupled: what it sees at a time.
  losses::Coupling coupling = losses::Coupling::kGlobal;
};

// The loss `name` of losses/registry.h with the options `values`, names and
// texts, over its defaults. kInvalidArgument says what is unknown or out of
// range and what is allowed.
absl::StatusOr<NamedPairLoss> MakePairLoss(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values = {});

// The weighted sum of `terms`, as losses::MixPairLosses has it.
absl::StatusOr<NamedPairLoss> MakePairLoss(
    const std::vector<losses::PairLossTerm>& terms);

struct PreferenceOptions {
  PairScoreOptions scores = {};
  // The state of losses with needs.running_mean, kept by the caller, who saves
  // it with checkpoints; must outlive the objective. Null: the objective's own.
  losses::RunningMoments* moments = nullptr;
};

// The loss summed over pairs; the weight is the number of pairs. A token's seed
// is the gradient of every sum that has its log-prob. Metrics: those of
// ScorePairBatch, rewards/{chosen,rejected,margins,accuracies} and the loss's
// own (orpo: log_odds_ratio, log_odds_chosen). A loss that
// couples pairs sees all of a step, or a micro-batch if its `coupling` says so;
// others always cost one forward pass: BindCoupled. `model` must have gradients
// and outlive the objective. `reference` may be null if the loss needs none;
// given, rewards are taken against it. Errors are those of ScorePairBatch.
CoupledObjective<PreferenceBatch, PairScores> PreferenceObjective(
    const Model& model, ReferenceLogProbs reference, NamedPairLoss loss,
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
