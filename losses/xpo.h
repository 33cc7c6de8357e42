#pragma once

// XPO: DPO on pairs that have just been sampled, and a bonus for exploring.
// Online DPO needs no more than a loss on pairs whose replies are two samples,
// the better one chosen.

#include <Eigen/Core>

#include "losses/ipo.h"
#include "losses/options.h"
#include "losses/pair.h"
#include "losses/sigmoid.h"

namespace align::losses {

enum class XpoBase { kSigmoid, kIpo };

struct XpoOptions {
  double beta = 0.1;
  double alpha = 1e-5;
  XpoBase base = XpoBase::kSigmoid;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Number("alpha", &alpha, {.low = 0},
                "weight of the exploration bonus (TRL 1e-5)");
    list.Choice("loss_type", &base,
                {{"sigmoid", XpoBase::kSigmoid}, {"ipo", XpoBase::kIpo}},
                "what the bonus is added to: DPO, or IPO of sums of log-probs, "
                "as TRL has it");
  }
  PairNeeds Needs() const { return {.reference = true, .policy_won = true}; }
};

// alpha log pi(reference's sample) of each pair, in nats, [B].
inline Eigen::ArrayXd ExplorationBonus(const PairInputs& in, double alpha) {
  return alpha *
         (in.policy_won != 0).select(in.policy_rejected, in.policy_chosen);
}

// One sample of the policy and one of the reference, the better one chosen:
//   loss = -log sigmoid(beta (r_chosen - r_rejected)) + alpha log pi(y_ref)
// with r = log pi/ref and y_ref the reference's sample, which the policy so
// learns to leave. Xie et al. 2024 (XPO, arXiv 2405.21046), algorithm 1; TRL.
inline PairLossResult XpoPairLoss(const PairInputs& in,
                                  const XpoOptions& options) {
  PairLossResult out = options.base == XpoBase::kSigmoid
                           ? SigmoidPairLoss(in, {.beta = options.beta})
                           : IpoPairLoss(in, {.beta = options.beta,
                                              .reduction = IpoReduction::kSum});
  out.loss += ExplorationBonus(in, options.alpha);
  out.d_policy_rejected += options.alpha * in.policy_won;
  out.d_policy_chosen += options.alpha * (1 - in.policy_won);
  return out;
}

}  // namespace align::losses
