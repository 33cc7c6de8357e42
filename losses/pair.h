#pragma once

// What every loss on preference pairs takes and gives.

#include <Eigen/Core>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace align::losses {

// A batch of B pairs, all arrays [B]. Log-probs are sums over the scored
// completion tokens, in nats; token counts are those of the same tokens.
// Fields that a loss does not need (PairNeeds) may be left empty.
struct PairInputs {
  Eigen::ArrayXd policy_chosen;
  Eigen::ArrayXd policy_rejected;
  Eigen::ArrayXd reference_chosen;
  Eigen::ArrayXd reference_rejected;
  Eigen::ArrayXd chosen_tokens;
  Eigen::ArrayXd rejected_tokens;

  // The same sums over the first min(chosen_tokens, rejected_tokens) tokens.
  Eigen::ArrayXd policy_chosen_head;
  Eigen::ArrayXd policy_rejected_head;
  Eigen::ArrayXd reference_chosen_head;
  Eigen::ArrayXd reference_rejected_head;

  // Means over tokens of log p(token) - log sum_v p(v)^2 under the policy: how
  // likely it is to write the reply itself. Constants, never differentiated.
  Eigen::ArrayXd chosen_log_weight;
  Eigen::ArrayXd rejected_log_weight;

  // r(chosen) - r(rejected) of a reward model or of the annotators.
  Eigen::ArrayXd reward_margin;

  // 1 where the chosen reply is the policy's own sample and the rejected one
  // the reference's, 0 where it is the other way round.
  Eigen::ArrayXd policy_won;

  // What NLL terms learn and how many tokens it has. Empty: the chosen
  // completion; TRL's ORPO learns the prompt too.
  Eigen::ArrayXd chosen_nll;
  Eigen::ArrayXd chosen_nll_tokens;

  // The mean over steps of MeanLogRatio, for losses with needs.running_mean:
  // who calls the loss keeps it (TakeIntoRunningMean) and stores it.
  double running_mean = 0;
};

// Every array of PairInputs.
inline constexpr Eigen::ArrayXd PairInputs::*kPairFields[] = {
    &PairInputs::policy_chosen,
    &PairInputs::policy_rejected,
    &PairInputs::reference_chosen,
    &PairInputs::reference_rejected,
    &PairInputs::chosen_tokens,
    &PairInputs::rejected_tokens,
    &PairInputs::policy_chosen_head,
    &PairInputs::policy_rejected_head,
    &PairInputs::reference_chosen_head,
    &PairInputs::reference_rejected_head,
    &PairInputs::chosen_log_weight,
    &PairInputs::rejected_log_weight,
    &PairInputs::reward_margin,
    &PairInputs::policy_won,
    &PairInputs::chosen_nll,
    &PairInputs::chosen_nll_tokens};

// Un-reduced: one value and one gradient a pair, all [B].
struct PairLossResult {
  Eigen::ArrayXd loss;
  Eigen::ArrayXd d_policy_chosen;    // d sum(loss) / d policy_chosen
  Eigen::ArrayXd d_policy_rejected;  // d sum(loss) / d policy_rejected
  Eigen::ArrayXd chosen_rewards;     // implicit rewards, beta * log-ratio
  Eigen::ArrayXd rejected_rewards;
  // Empty where the loss does not read the field: zero.
  Eigen::ArrayXd d_policy_chosen_head;
  Eigen::ArrayXd d_policy_rejected_head;
  Eigen::ArrayXd d_chosen_nll;
  // What else is reported of the loss by TRL's names, one value a pair each.
  std::map<std::string, Eigen::ArrayXd> metrics;
};

using PairLoss = std::function<PairLossResult(const PairInputs&)>;

// Which inputs a loss reads.
struct PairNeeds {
  bool reference = false;
  bool lengths = false;
  // One pair's loss depends on the other pairs of the batch.
  bool coupled = false;
  bool heads = false;          // the *_head sums
  bool log_weights = false;    // *_log_weight
  bool reward_margin = false;  // reward_margin
  bool running_mean = false;   // running_mean
  bool prompt_nll = false;     // chosen_nll, the prompt's tokens included
  bool policy_won = false;     // policy_won: pairs that have been sampled

  PairNeeds operator|(const PairNeeds& other) const {
    return {reference || other.reference,
            lengths || other.lengths,
            coupled || other.coupled,
            heads || other.heads,
            log_weights || other.log_weights,
            reward_margin || other.reward_margin,
            running_mean || other.running_mean,
            prompt_nll || other.prompt_nll,
            policy_won || other.policy_won};
  }
};

// Log-ratios of chosen and rejected, and the implicit rewards made of them.
struct PairLogRatios {
  Eigen::ArrayXd chosen;    // [B] log pi - log ref
  Eigen::ArrayXd rejected;  // [B]
};

// log pi - log ref; an empty reference counts as zero.
inline PairLogRatios LogRatios(const PairInputs& in) {
  PairLogRatios out{in.policy_chosen, in.policy_rejected};
  if (in.reference_chosen.size() > 0) out.chosen -= in.reference_chosen;
  if (in.reference_rejected.size() > 0) out.rejected -= in.reference_rejected;
  return out;
}

// The mean of all 2B log-ratios: times beta, the mean implicit reward.
inline double MeanLogRatio(const PairInputs& in) {
  if (in.policy_chosen.size() == 0) return 0;
  const PairLogRatios ratios = LogRatios(in);
  return 0.5 * (ratios.chosen.mean() + ratios.rejected.mean());
}

// A result of zeros with the rewards filled in: beta * log-ratio whatever the
// loss scores, as TRL reports them.
inline PairLossResult ZeroResult(const PairInputs& in, double beta) {
  const Eigen::ArrayXd zeros = Eigen::ArrayXd::Zero(in.policy_chosen.size());
  const PairLogRatios ratios = LogRatios(in);
  return {zeros, zeros, zeros, beta * ratios.chosen, beta * ratios.rejected, {},
          {},    {},    {}};
}

// Empty if the arrays `needs` asks for all have B entries, every number is
// finite and token counts are not negative; otherwise what is wrong, naming the
// field and the row.
inline std::string CheckPairInputs(const PairInputs& in,
                                   const PairNeeds& needs) {
  const Eigen::Index batch = in.policy_chosen.size();
  std::string error;
  auto check = [&](const char* name, const Eigen::ArrayXd& values,
                   bool required, bool count = false) {
    if (!error.empty() || (!required && values.size() == 0)) return;
    if (values.size() != batch) {
      error = std::string(name) + ": " + std::to_string(values.size()) +
              " values; expected " + std::to_string(batch) +
              " as in policy_chosen";
      return;
    }
    for (Eigen::Index i = 0; i < batch; ++i) {
      if (std::isfinite(values[i]) && !(count && values[i] < 0)) continue;
      error = std::string(name) + "[" + std::to_string(i) + "] is " +
              (std::isfinite(values[i]) ? "negative" : "not finite") +
              "; expected a finite " + (count ? "count" : "value");
      return;
    }
  };
  check("policy_chosen", in.policy_chosen, true);
  check("policy_rejected", in.policy_rejected, true);
  check("reference_chosen", in.reference_chosen, needs.reference);
  check("reference_rejected", in.reference_rejected, needs.reference);
  check("chosen_tokens", in.chosen_tokens, needs.lengths, true);
  check("rejected_tokens", in.rejected_tokens, needs.lengths, true);
  check("policy_chosen_head", in.policy_chosen_head, needs.heads);
  check("policy_rejected_head", in.policy_rejected_head, needs.heads);
  const bool reference_heads = needs.heads && needs.reference;
  check("reference_chosen_head", in.reference_chosen_head, reference_heads);
  check("reference_rejected_head", in.reference_rejected_head, reference_heads);
  check("chosen_log_weight", in.chosen_log_weight, needs.log_weights);
  check("rejected_log_weight", in.rejected_log_weight, needs.log_weights);
  check("reward_margin", in.reward_margin, needs.reward_margin);
  check("policy_won", in.policy_won, needs.policy_won);
  check("chosen_nll", in.chosen_nll, needs.prompt_nll);
  check("chosen_nll_tokens", in.chosen_nll_tokens, needs.prompt_nll, true);
  return error;
}

}  // namespace align::losses
