#pragma once

// What every loss on preference pairs takes and gives.

#include <Eigen/Core>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

namespace align::losses {

// A batch of B pairs. Log-probs are sums over the scored completion tokens, in
// nats; token counts are those of the same tokens. Fields that a loss does not
// need (PairNeeds) may be left empty.
struct PairInputs {
  Eigen::ArrayXd policy_chosen;       // [B]
  Eigen::ArrayXd policy_rejected;     // [B]
  Eigen::ArrayXd reference_chosen;    // [B]
  Eigen::ArrayXd reference_rejected;  // [B]
  Eigen::ArrayXd chosen_tokens;       // [B]
  Eigen::ArrayXd rejected_tokens;     // [B]
};

// Un-reduced: one value and one gradient a pair, all [B].
struct PairLossResult {
  Eigen::ArrayXd loss;
  Eigen::ArrayXd d_policy_chosen;    // d sum(loss) / d policy_chosen
  Eigen::ArrayXd d_policy_rejected;  // d sum(loss) / d policy_rejected
  Eigen::ArrayXd chosen_rewards;     // implicit rewards, beta * log-ratio
  Eigen::ArrayXd rejected_rewards;
};

using PairLoss = std::function<PairLossResult(const PairInputs&)>;

// Which inputs a loss reads.
struct PairNeeds {
  bool reference = false;
  bool lengths = false;
  // One pair's loss depends on the other pairs of the batch.
  bool coupled = false;
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

// What the loss scores: the log-ratios, or bare log-probs if reference-free.
inline PairLogRatios Scores(const PairInputs& in, bool reference_free) {
  if (reference_free) return {in.policy_chosen, in.policy_rejected};
  return LogRatios(in);
}

// A result with `loss` and its derivative by the margin chosen - rejected.
// Rewards are beta * log-ratio whatever the loss scored, as TRL reports them.
inline PairLossResult FromMargin(const PairInputs& in, double beta,
                                 Eigen::ArrayXd loss,
                                 const Eigen::ArrayXd& d_margin) {
  const PairLogRatios ratios = LogRatios(in);
  return {std::move(loss), d_margin, -d_margin, beta * ratios.chosen,
          beta * ratios.rejected};
}

// Empty if the arrays `needs` asks for all have B entries and every log-prob
// is finite; otherwise what is wrong, naming the field and the row.
inline std::string CheckPairInputs(const PairInputs& in,
                                   const PairNeeds& needs) {
  const Eigen::Index batch = in.policy_chosen.size();
  std::string error;
  auto check = [&](const char* name, const Eigen::ArrayXd& values,
                   bool required) {
    if (!error.empty() || (!required && values.size() == 0)) return;
    if (values.size() != batch) {
      error = std::string(name) + ": " + std::to_string(values.size()) +
              " values; expected " + std::to_string(batch) +
              " as in policy_chosen";
      return;
    }
    for (Eigen::Index i = 0; i < batch; ++i) {
      if (std::isfinite(values[i])) continue;
      error = std::string(name) + "[" + std::to_string(i) +
              "] is not finite; expected a finite value";
      return;
    }
  };
  check("policy_chosen", in.policy_chosen, true);
  check("policy_rejected", in.policy_rejected, true);
  check("reference_chosen", in.reference_chosen, needs.reference);
  check("reference_rejected", in.reference_rejected, needs.reference);
  check("chosen_tokens", in.chosen_tokens, needs.lengths);
  check("rejected_tokens", in.rejected_tokens, needs.lengths);
  return error;
}

}  // namespace align::losses
