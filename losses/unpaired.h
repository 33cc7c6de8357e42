#pragma once

// What every loss on replies that are judged on their own takes and gives.

#include <Eigen/Core>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "losses/running_moments.h"

namespace align::losses {

// true: desirable, false: undesirable.
using Labels = Eigen::Array<bool, Eigen::Dynamic, 1>;

// A batch of B replies. Log-probs are sums over the scored tokens of a reply,
// in nats. Fields that a loss does not need (UnpairedNeeds) may be left empty.
struct UnpairedInputs {
  Eigen::ArrayXd policy;     // [B]
  Eigen::ArrayXd reference;  // [B]
  Labels desirable;          // [B]
  // The batch's prompts with replies to other prompts, any number of them.
  Eigen::ArrayXd mismatched_policy;     // [M]
  Eigen::ArrayXd mismatched_reference;  // [M]
  // How much likelier each row's prompt is among desirable rows than among
  // undesirable ones (losses/density_ratio.h); empty: 1.
  Eigen::ArrayXd density_ratio;  // [B]
};

// Un-reduced: one value and one gradient a reply, all [B].
struct UnpairedResult {
  Eigen::ArrayXd loss;
  Eigen::ArrayXd d_policy;  // d sum(loss) / d policy
  Eigen::ArrayXd rewards;   // implicit rewards, beta * log-ratio
  // What rewards were compared with: KTO's z in nats, bco's delta in reward
  // units, 0 for none. No gradient flows through it.
  double reference_point = 0;
};

// `moments` is the state a loss carries from batch to batch, of the rewards;
// a loss that does not need it leaves it alone.
using UnpairedLoss =
    std::function<UnpairedResult(const UnpairedInputs&, RunningMoments&)>;

// Which inputs a loss reads.
struct UnpairedNeeds {
  bool reference = false;
  bool mismatched = false;
  bool density_ratio = false;
  bool moments = false;
  // One reply's loss depends on the other replies of the batch.
  bool coupled = false;
};

// log pi - log ref, [B].
inline Eigen::ArrayXd LogRatios(const UnpairedInputs& in) {
  return in.policy - in.reference;
}

// `desirable` where the label is true, else `undesirable`.
inline Eigen::ArrayXd ByLabel(const UnpairedInputs& in, double desirable,
                              double undesirable) {
  return in.desirable.select(
      Eigen::ArrayXd::Constant(in.policy.size(), desirable),
      Eigen::ArrayXd::Constant(in.policy.size(), undesirable));
}

// Empty if the arrays `needs` asks for have their lengths and every number is
// finite; otherwise what is wrong, naming the field and the row.
inline std::string CheckUnpairedInputs(const UnpairedInputs& in,
                                       const UnpairedNeeds& needs) {
  std::string error;
  auto check = [&](const char* name, const Eigen::ArrayXd& values,
                   Eigen::Index expected, const char* like, bool required) {
    if (!error.empty() || (!required && values.size() == 0)) return;
    if (values.size() != expected) {
      error = std::string(name) + ": " + std::to_string(values.size()) +
              " values; expected " + std::to_string(expected) + " as in " +
              like;
      return;
    }
    for (Eigen::Index i = 0; i < values.size(); ++i) {
      if (std::isfinite(values[i])) continue;
      error = std::string(name) + "[" + std::to_string(i) +
              "] is not finite; expected a finite value";
      return;
    }
  };
  const Eigen::Index batch = in.policy.size();
  const Eigen::Index mismatched = in.mismatched_policy.size();
  if (in.desirable.size() != batch) {
    return "desirable: " + std::to_string(in.desirable.size()) +
           " labels; expected " + std::to_string(batch) + " as in policy";
  }
  if (needs.mismatched && batch > 0 && mismatched == 0) {
    return "mismatched_policy: no values; expected at least one";
  }
  check("policy", in.policy, batch, "policy", true);
  check("reference", in.reference, batch, "policy", needs.reference);
  check("mismatched_policy", in.mismatched_policy, mismatched,
        "mismatched_policy", needs.mismatched);
  check("mismatched_reference", in.mismatched_reference, mismatched,
        "mismatched_policy", needs.mismatched);
  check("density_ratio", in.density_ratio, batch, "policy",
        needs.density_ratio);
  return error;
}

}  // namespace align::losses
