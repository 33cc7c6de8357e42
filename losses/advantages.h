#pragma once

// What estimators of advantages take and give. They are not losses: they turn
// the rewards of a rollout into the constants that policy losses multiply by.

#include <Eigen/Core>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "losses/group_statistics.h"
#include "losses/numerics.h"

namespace align::losses {

// B sampled sequences, N tokens in all, as in PolicyInputs. Fields that an
// estimator does not need (AdvantageNeeds) may be left empty.
struct AdvantageInputs {
  std::vector<Eigen::Index> offsets;  // [B + 1]
  Eigen::ArrayXd mask;                // [N], 1 where scored; empty: all are
  // [B] one score a sequence; NaN: it could not be scored, and gets an
  // advantage of 0.
  Eigen::ArrayXd rewards;
  // [B, F] instead of rewards: scores of F reward functions; NaN: the function
  // does not apply to the sample.
  Eigen::ArrayXXd rewards_per_function;
  std::vector<double> reward_weights;  // [F]; empty: all 1
  Groups groups;                       // [B] which prompt
  // [N] what a token earns besides, as -kl_coef KL; empty: 0. Estimators of
  // one advantage a sequence add its sum to the sequence's reward.
  Eigen::ArrayXd token_rewards;
  Eigen::ArrayXd values;     // [N] of a critic, before the token
  Eigen::ArrayXd baselines;  // [B] reward of the greedy completion (ReMax)

  Eigen::Index sequences() const {
    return offsets.empty() ? 0 : static_cast<Eigen::Index>(offsets.size()) - 1;
  }
  bool Scored(Eigen::Index token) const {
    return mask.size() == 0 || mask[token] != 0;
  }
};

// One of the two advantages is empty.
struct AdvantageResult {
  Eigen::ArrayXd advantages;        // [B]
  Eigen::ArrayXd token_advantages;  // [N], 0 where the mask is
  Eigen::ArrayXd returns;           // [N] what a critic learns; else empty
  // [B] the standard deviation within each sample's group before scaling, for
  // TRL's reward_std and frac_reward_zero_std; else empty.
  Eigen::ArrayXd reward_std;
};

using AdvantageEstimator =
    std::function<AdvantageResult(const AdvantageInputs&)>;

// Which inputs an estimator reads beyond rewards.
struct AdvantageNeeds {
  bool groups = false;
  bool values = false;     // a critic's
  bool baselines = false;  // the greedy completion's reward
  // Statistics over the whole batch: all of a step's samples go into one call.
  bool whole_batch = false;
  // It does not read token_rewards.
  bool only_scores = false;
};

// Empty if arrays have their lengths and every number that is read is finite,
// rewards also NaN; otherwise what is wrong, naming the field and the row.
inline std::string CheckAdvantageInputs(const AdvantageInputs& in,
                                        const AdvantageNeeds& needs) {
  const Eigen::Index sequences = in.sequences();
  if (in.offsets.empty() || in.offsets.front() != 0) {
    return "offsets: expected one more than sequences, from 0";
  }
  for (Eigen::Index i = 0; i < sequences; ++i) {
    if (in.offsets[i + 1] >= in.offsets[i]) continue;
    return "offsets[" + std::to_string(i + 1) + "] is below the one before; " +
           "expected that sequences follow one another";
  }
  const Eigen::Index tokens = in.offsets.back();
  std::string error;
  const auto check = [&](const char* name, const auto& values,
                         Eigen::Index expected, bool required,
                         bool may_be_nan = false) {
    if (!error.empty() || (!required && values.size() == 0)) return;
    if (values.rows() != expected) {
      error = std::string(name) + ": " + std::to_string(values.rows()) +
              " values; expected " + std::to_string(expected);
      return;
    }
    for (Eigen::Index i = 0; i < values.rows(); ++i) {
      if (expected == tokens && expected != sequences && !in.Scored(i)) {
        continue;
      }
      for (Eigen::Index k = 0; k < values.cols(); ++k) {
        const double v = values(i, k);
        if (std::isfinite(v) || (may_be_nan && std::isnan(v))) continue;
        error = std::string(name) + "[" + std::to_string(i) +
                "] is not finite; expected a finite value" +
                (may_be_nan ? " or NaN for none" : "");
        return;
      }
    }
  };
  const bool several = in.rewards_per_function.size() > 0;
  if (in.mask.size() != 0 && in.mask.size() != tokens) {
    return "mask: " + std::to_string(in.mask.size()) + " values; expected " +
           std::to_string(tokens) + ", one a token";
  }
  if (needs.groups &&
      static_cast<Eigen::Index>(in.groups.size()) != sequences) {
    return "groups: " + std::to_string(in.groups.size()) +
           " values; expected " + std::to_string(sequences) +
           ", one a sequence";
  }
  if (!in.reward_weights.empty() &&
      static_cast<Eigen::Index>(in.reward_weights.size()) !=
          in.rewards_per_function.cols()) {
    return "reward_weights: " + std::to_string(in.reward_weights.size()) +
           " values; expected " +
           std::to_string(in.rewards_per_function.cols()) +
           ", one a reward function";
  }
  check("rewards", in.rewards, sequences, !several, true);
  check("rewards_per_function", in.rewards_per_function, sequences, several,
        true);
  check("token_rewards", in.token_rewards, tokens, false);
  check("values", in.values, tokens, needs.values);
  check("baselines", in.baselines, sequences, needs.baselines);
  return error;
}

}  // namespace align::losses
