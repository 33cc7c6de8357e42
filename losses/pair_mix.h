#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "losses/pair_registry.h"

namespace align::losses {

struct PairLossTerm {
  std::string name;
  OptionValues values;
  double weight = 1;
};

// to += weight * from, where an empty array is zero.
inline void AddWeighted(double weight, const Eigen::ArrayXd& from,
                        Eigen::ArrayXd& to) {
  if (from.size() == 0) return;
  if (to.size() == 0) to = Eigen::ArrayXd::Zero(from.size());
  to += weight * from;
}

// A weighted sum of losses, one option set each. MPO (Wang et al. 2024,
// arXiv 2411.10442, eq. 3) is 0.8 sigmoid + 0.2 bco_pair + 1.0 sft. Rewards,
// and a metric that several terms have, are those of the first term. If a term
// wants micro-batches, all get them. Only terms that learn the prompt's tokens
// see in.chosen_nll.
inline PairLossOrError MixPairLosses(const std::vector<PairLossTerm>& terms) {
  PairLossOrError out;
  if (terms.empty()) out.error = "loss: no terms; expected at least one";
  struct Part {
    double weight = 1;
    PairLoss loss;
    bool prompt_nll = false;
  };
  std::vector<Part> parts;
  for (const PairLossTerm& term : terms) {
    PairLossOrError made = MakePairLoss(term.name, term.values);
    if (made.ok() && !(term.weight >= 0 && std::isfinite(term.weight))) {
      made.error = "loss " + term.name +
                   ": weight = " + NumberText(term.weight) +
                   "; expected a number in [0, inf)";
    }
    if (!made.ok()) {
      out.error = made.error;
      return out;
    }
    if (parts.empty()) out.beta = made.beta;
    out.needs = out.needs | made.needs;
    if (made.needs.coupled && made.coupling == Coupling::kMicro) {
      out.coupling = Coupling::kMicro;
    }
    parts.push_back({term.weight, std::move(made.loss), made.needs.prompt_nll});
  }
  if (!out.ok()) return out;
  out.loss = [parts](const PairInputs& in) {
    PairInputs completions = in;
    completions.chosen_nll.resize(0);
    completions.chosen_nll_tokens.resize(0);
    PairLossResult sum;
    for (const auto& [weight, loss, prompt_nll] : parts) {
      PairLossResult part = loss(prompt_nll ? in : completions);
      AddWeighted(weight, part.loss, sum.loss);
      AddWeighted(weight, part.d_policy_chosen, sum.d_policy_chosen);
      AddWeighted(weight, part.d_policy_rejected, sum.d_policy_rejected);
      AddWeighted(weight, part.d_policy_chosen_head, sum.d_policy_chosen_head);
      AddWeighted(weight, part.d_policy_rejected_head,
                  sum.d_policy_rejected_head);
      AddWeighted(weight, part.d_chosen_nll, sum.d_chosen_nll);
      sum.metrics.merge(part.metrics);
      if (sum.chosen_rewards.size() > 0) continue;
      sum.chosen_rewards = std::move(part.chosen_rewards);
      sum.rejected_rewards = std::move(part.rejected_rewards);
    }
    return sum;
  };
  return out;
}

}  // namespace align::losses
