#pragma once

// Losses on pairs that the policy has just sampled. Online DPO needs no more
// than a loss on pairs whose replies are two samples, the better one chosen.

#include <Eigen/Core>

#include "losses/options.h"
#include "losses/pair.h"

namespace align::losses {

struct XpoOptions {
  double alpha = 1e-5;

  void Describe(OptionList& list) {
    list.Number("alpha", &alpha, {.low = 0},
                "weight of the exploration bonus (TRL 1e-5)");
  }
};

// true: the policy's own sample is the chosen reply.
using PolicyWon = Eigen::Array<bool, Eigen::Dynamic, 1>;

// Adds alpha log pi(reference's sample) to a loss on pairs of one sample of the
// policy and one of the reference, so that the policy leaves what the reference
// would say. Xie et al. 2024 (XPO, arXiv 2405.21046), algorithm 1; TRL.
inline void AddExplorationBonus(const PairInputs& in,
                                const PolicyWon& policy_won,
                                const XpoOptions& options,
                                PairLossResult& out) {
  for (Eigen::Index i = 0; i < out.loss.size(); ++i) {
    const bool won = policy_won[i];
    out.loss[i] +=
        options.alpha * (won ? in.policy_rejected[i] : in.policy_chosen[i]);
    (won ? out.d_policy_rejected : out.d_policy_chosen)[i] += options.alpha;
  }
}

// Which of two scored samples is chosen: the first if its score is at least the
// other's (TRL: ties go to the first), [B].
inline PolicyWon FirstWins(const Eigen::ArrayXd& first_scores,
                           const Eigen::ArrayXd& second_scores) {
  return first_scores >= second_scores;
}

}  // namespace align::losses
