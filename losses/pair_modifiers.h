#pragma once

// What any loss on pairs can be given besides its own options: LD-DPO's length
// desensitisation, WPO's weights and an NLL term.

#include <algorithm>
#include <cmath>

#include "losses/chosen_nll.h"
#include "losses/coupling.h"
#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/pair.h"

namespace align::losses {

struct PairModifiers {
  double ld_alpha = 1.0;
  bool ld_reference = true;
  bool use_weighting = false;
  bool weighting_cap = false;
  double rpo_alpha = 0.0;
  NllAverage rpo_average = NllAverage::kTokens;
  Coupling coupling = Coupling::kGlobal;

  void Describe(OptionList& list) {
    list.Number("ld_alpha", &ld_alpha, {.low = 0, .high = 1},
                "weight of the tokens beyond the shorter reply's length "
                "(LD-DPO, Liu et al. 2024, arXiv 2409.06411, eq. 9); 1 is off");
    list.Flag("ld_reference", &ld_reference,
              "ld_alpha weights the reference too (TRL 1.x); TRL <= 0.24 and "
              "LLaMA-Factory leave it whole");
    list.Flag("use_weighting", &use_weighting,
              "weigh pairs by how likely the policy is to write them (WPO, "
              "Zhou et al. 2024, arXiv 2406.11827, eq. 4 and 6)");
    list.Flag("weighting_cap", &weighting_cap,
              "limit that weight to 1: the paper and TRL <= 0.24; TRL 1.x "
              "does not");
    list.Number("rpo_alpha", &rpo_alpha, {.low = 0},
                "weight of the NLL of the chosen reply (RPO, Pang et al. 2024, "
                "arXiv 2404.19733, eq. 2); OpenRLHF's nll_loss_coef, "
                "LLaMA-Factory's pref_ftx");
    DescribeNllAverage(list, &rpo_average, "rpo_average");
    DescribeCoupling(list, &coupling);
  }

  // What a loss that needs `base` needs with these.
  PairNeeds With(PairNeeds base) const {
    const bool learns = rpo_alpha > 0;
    return base |
           PairNeeds{.lengths = learns && rpo_average != NllAverage::kSum,
                     .coupled = learns && rpo_average == NllAverage::kTokens,
                     .heads = ld_alpha != 1,
                     .log_weights = use_weighting};
  }
};

// The inputs with every log-prob sum S replaced by alpha S + (1 - alpha) H, H
// being the sum over the first min(T_chosen, T_rejected) tokens. NLL terms keep
// the whole reply.
inline PairInputs DesensitizeLengths(const PairInputs& in,
                                     const PairModifiers& options) {
  const double alpha = options.ld_alpha;
  const auto mix = [alpha](const Eigen::ArrayXd& sum,
                           const Eigen::ArrayXd& head) {
    return Eigen::ArrayXd(alpha * sum + (1 - alpha) * head);
  };
  PairInputs out = in;
  out.policy_chosen = mix(in.policy_chosen, in.policy_chosen_head);
  out.policy_rejected = mix(in.policy_rejected, in.policy_rejected_head);
  if (options.ld_reference && in.reference_chosen.size() > 0) {
    out.reference_chosen = mix(in.reference_chosen, in.reference_chosen_head);
    out.reference_rejected =
        mix(in.reference_rejected, in.reference_rejected_head);
  }
  if (in.chosen_nll.size() == 0) {
    out.chosen_nll = -in.policy_chosen;
    out.chosen_nll_tokens = in.chosen_tokens;
  }
  return out;
}

// Gradients by what DesensitizeLengths replaced, from those by what it gave.
inline void SpreadToHeads(const PairInputs& in, double alpha,
                          PairLossResult& out) {
  out.d_policy_chosen_head = (1 - alpha) * out.d_policy_chosen;
  out.d_policy_rejected_head = (1 - alpha) * out.d_policy_rejected;
  out.d_policy_chosen *= alpha;
  out.d_policy_rejected *= alpha;
  if (in.chosen_nll.size() == 0 && out.d_chosen_nll.size() > 0) {
    out.d_policy_chosen -= out.d_chosen_nll;
    out.d_chosen_nll.resize(0);
  }
}

// Multiplies row i of the loss and of its gradients by weight_i.
inline void WeighRows(const Eigen::ArrayXd& weight, PairLossResult& out) {
  for (Eigen::ArrayXd* field :
       {&out.loss, &out.d_policy_chosen, &out.d_policy_rejected,
        &out.d_policy_chosen_head, &out.d_policy_rejected_head,
        &out.d_chosen_nll}) {
    if (field->size() > 0) *field *= weight;
  }
}

// `loss` (a function of PairInputs) under the modifiers: on desensitised
// lengths, plus rpo_alpha NLL, times WPO's weight
//   exp(mean_t (log p_t - log sum_v p_v^2) of chosen + the same of rejected),
// a constant.
template <class Loss>
PairLossResult ModifiedLoss(const PairInputs& in, const PairModifiers& options,
                            const Loss& loss) {
  PairLossResult out;
  if (options.ld_alpha == 1) {
    out = loss(in);
  } else {
    out = loss(DesensitizeLengths(in, options));
    SpreadToHeads(in, options.ld_alpha, out);
  }
  if (options.rpo_alpha > 0) {
    AddChosenNll(in, options.rpo_alpha, options.rpo_average, out);
  }
  if (options.use_weighting) {
    const double cap = options.weighting_cap ? 0.0 : kMaxExponent;
    WeighRows((in.chosen_log_weight + in.rejected_log_weight).min(cap).exp(),
              out);
  }
  return out;
}

}  // namespace align::losses
