#pragma once

#include <cstdint>
#include <vector>

#include "align/train/coupled.h"
#include "align/train/duel_rollout.h"
#include "align/train/policy_objective.h"
#include "align/train/preference_objective.h"

namespace align::train {

// Pairs that have been sampled, as their loss sees them.
struct SampledPairScores {
  PairScores pairs;
  // As in SampledPairs.
  std::vector<double> scores;
  std::vector<uint8_t> stopped, policy_won;
  double prompts_left_out = 0;
};

struct OnlinePairOptions {
  PreferenceOptions preference = {};
  // Of the loss xpo, for its metrics.
  double alpha = 0;
};

// PreferenceObjective on pairs that have been sampled: online DPO (Guo et al.
// 2024, arXiv 2402.04792, algorithm 1) with any loss on pairs, and XPO (Xie et
// al. 2024, arXiv 2405.21046, algorithm 1) with the loss xpo. A batch without a
// pair has no weight. Metrics are those of PreferenceObjective and, by TRL's
// names, means over both replies of the pairs: objective/kl and
// objective/entropy, of whole replies (the latter -log p of what was sampled),
// objective/non_score_reward, -beta KL, objective/scores_margin, beta,
// frac_left_out, the share of prompts without a pair; of online DPO
// objective/{scores,rlhf_reward} and val/contain_eos_token; of XPO
// objective/{model,ref}_scores, val/{model,ref}_contain_eos_token,
// loss/{dpo,xpo} and alpha. Those of a reference stand where there is one.
// References, lifetimes and errors are those of PreferenceObjective.
CoupledObjective<SampledPairs, SampledPairScores> OnlinePairObjective(
    const Model& model, ReferenceLogProbs reference, NamedPairLoss loss,
    const OnlinePairOptions& options = {});

// PolicyObjective on NextFirsts of DuelRollouts: Nash-MD with the loss nash_md.
// Adds metrics by TRL's names, means over completions: logps/{chosen,rejected},
// log p under policy and reference, rewards/margins and loss/kl, their
// difference, rewards/accuracies, the share where it is positive,
// objective/entropy, -log p, loss/score, the advantage times log p, beta and
// mixture_coef, the reference's share in the opponent.
CoupledObjective<PolicyBatch, PolicyScores> NashObjective(
    const Model& policy, const NamedPolicyLoss& loss,
    const PolicyObjectiveOptions& options, double mixture_coef);

}  // namespace align::train
