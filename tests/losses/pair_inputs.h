#pragma once

#include <cmath>
#include <cstdint>

#include "losses/pair.h"

namespace align::losses {

// B pairs with every field filled, from a small generator: pair i of any batch
// size is the same. Nothing is at a kink.
inline PairInputs SomePairs(Eigen::Index batch) {
  PairInputs in;
  for (Eigen::ArrayXd PairInputs::*field : kPairFields) {
    (in.*field).resize(batch);
  }
  for (Eigen::Index i = 0; i < batch; ++i) {
    uint32_t state = 17 + 1000003u * static_cast<uint32_t>(i);
    const auto uniform = [&state] {
      state = state * 1664525u + 1013904223u;
      return (state >> 8) / 16777216.0;
    };
    uniform();
    in.chosen_tokens[i] = 1 + std::floor(9 * uniform());
    in.rejected_tokens[i] = 1 + std::floor(9 * uniform());
    in.policy_chosen[i] = -(0.3 + 2 * uniform()) * in.chosen_tokens[i];
    in.policy_rejected[i] = -(0.3 + 2 * uniform()) * in.rejected_tokens[i];
    in.reference_chosen[i] = in.policy_chosen[i] + 3 * uniform() - 1.5;
    in.reference_rejected[i] = in.policy_rejected[i] + 3 * uniform() - 1.5;
    in.policy_chosen_head[i] = uniform() * in.policy_chosen[i];
    in.policy_rejected_head[i] = uniform() * in.policy_rejected[i];
    in.reference_chosen_head[i] = uniform() * in.reference_chosen[i];
    in.reference_rejected_head[i] = uniform() * in.reference_rejected[i];
    in.chosen_log_weight[i] = -uniform();
    in.rejected_log_weight[i] = -uniform();
    in.reward_margin[i] = 2 * uniform() - 0.5;
    in.chosen_nll_tokens[i] = in.chosen_tokens[i] + 3;
    in.chosen_nll[i] = -in.policy_chosen[i] + 6 * uniform();
    in.policy_won[i] = static_cast<double>(i % 2);
  }
  in.running_mean = 0.37;
  return in;
}

// Only what `needs` asks for, as a caller would fill it.
inline PairInputs Only(PairInputs in, const PairNeeds& needs) {
  if (!needs.reference) {
    in.reference_chosen.resize(0);
    in.reference_rejected.resize(0);
  }
  if (!needs.lengths) {
    in.chosen_tokens.resize(0);
    in.rejected_tokens.resize(0);
  }
  if (!needs.heads) {
    in.policy_chosen_head.resize(0);
    in.policy_rejected_head.resize(0);
  }
  if (!needs.heads || !needs.reference) {
    in.reference_chosen_head.resize(0);
    in.reference_rejected_head.resize(0);
  }
  if (!needs.log_weights) {
    in.chosen_log_weight.resize(0);
    in.rejected_log_weight.resize(0);
  }
  if (!needs.reward_margin) in.reward_margin.resize(0);
  if (!needs.policy_won) in.policy_won.resize(0);
  if (!needs.prompt_nll) {
    in.chosen_nll.resize(0);
    in.chosen_nll_tokens.resize(0);
  }
  if (!needs.running_mean) in.running_mean = std::nan("");
  return in;
}

}  // namespace align::losses
