#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct AotOptions {
  double beta = 0.1;
  double label_smoothing = 0.0;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Number("label_smoothing", &label_smoothing, {.low = 0, .high = 0.5},
                "probability that the order of distributions is wrong");
  }
  PairNeeds Needs() const { return {.reference = true, .coupled = true}; }
};

// Indices of `values` from the smallest to the largest, equal ones in order.
inline std::vector<Eigen::Index> Ranks(const Eigen::ArrayXd& values) {
  std::vector<Eigen::Index> order(values.size());
  std::iota(order.begin(), order.end(), Eigen::Index{0});
  std::stable_sort(
      order.begin(), order.end(),
      [&](Eigen::Index a, Eigen::Index b) { return values[a] < values[b]; });
  return order;
}

// Alignment via optimal transport: not each pair but the distributions are
// ordered, quantile by quantile. With a = log pi(chosen) - log pi(rejected) and
// b the same of the reference, each sorted over the batch of B >= 2 pairs:
//   loss_i = smoothed logistic(beta (a_(i) - b_(i)))
// Row i of the result is the pair that a_(i) came from. Melnyk et al. 2024
// (arXiv 2406.05882), eq. 7, paired form; smoothing as in sigmoid.h.
inline PairLossResult AotPairLoss(const PairInputs& in,
                                  const AotOptions& options) {
  const Eigen::ArrayXd policy = in.policy_chosen - in.policy_rejected;
  const Eigen::ArrayXd reference = in.reference_chosen - in.reference_rejected;
  const std::vector<Eigen::Index> order = Ranks(policy);
  const std::vector<Eigen::Index> reference_order = Ranks(reference);
  PairLossResult out = ZeroResult(in, options.beta);
  for (size_t i = 0; i < order.size(); ++i) {
    const ValueSlope at = SmoothedLogistic(
        options.beta * (policy[order[i]] - reference[reference_order[i]]),
        options.label_smoothing);
    out.loss[order[i]] = at.value;
    out.d_policy_chosen[order[i]] = options.beta * at.slope;
    out.d_policy_rejected[order[i]] = -options.beta * at.slope;
  }
  return out;
}

struct AotUnpairedOptions : AotOptions {
  static constexpr bool kMixesRows = true;
};

// The unpaired form (arXiv 2406.05882, eq. 8): log-ratios of chosen replies and
// of rejected ones, each sorted over the batch:
//   loss_i = smoothed logistic(beta (r_chosen_(i) - r_rejected_(i)))
// Row i is the pair whose chosen reply has rank i. TRL <= 0.24 calls it
// aot_pair.
inline PairLossResult AotUnpairedLoss(const PairInputs& in,
                                      const AotUnpairedOptions& options) {
  const PairLogRatios ratios = LogRatios(in);
  const std::vector<Eigen::Index> chosen = Ranks(ratios.chosen);
  const std::vector<Eigen::Index> rejected = Ranks(ratios.rejected);
  PairLossResult out = ZeroResult(in, options.beta);
  for (size_t i = 0; i < chosen.size(); ++i) {
    const ValueSlope at =
        SmoothedLogistic(options.beta * (ratios.chosen[chosen[i]] -
                                         ratios.rejected[rejected[i]]),
                         options.label_smoothing);
    out.loss[chosen[i]] = at.value;
    out.d_policy_chosen[chosen[i]] = options.beta * at.slope;
    out.d_policy_rejected[rejected[i]] = -options.beta * at.slope;
  }
  return out;
}

}  // namespace align::losses
