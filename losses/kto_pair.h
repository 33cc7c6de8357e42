#pragma once

#include <algorithm>

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

struct KtoPairOptions {
  static constexpr bool kMixesRows = true;
  double beta = 0.1;
  bool detach_kl = false;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the log-ratios");
    list.Flag("detach_kl", &detach_kl,
              "take the KL estimates as constants, as the paper does; TRL 0.7 "
              "and LLaMA-Factory differentiate them");
  }
  PairNeeds Needs() const { return {.reference = true, .coupled = true}; }
};

// KTO on pairs. With log-ratios r and z = max(0, mean of r over the batch), the
// other class's:
//   loss = 1/2 (1 - sigmoid(beta (r_w - z_rejected)))
//        + 1/2 (1 - sigmoid(beta (z_chosen - r_l)))
// Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 8, as TRL 0.7 had it: the mean
// over pairs of this is its mean over replies. The unpaired form with a KL of
// mismatched replies is kto.h.
inline PairLossResult KtoPairLoss(const PairInputs& in,
                                  const KtoPairOptions& options) {
  const double beta = options.beta;
  PairLossResult out = ZeroResult(in, beta);
  const Eigen::Index batch = out.loss.size();
  if (batch == 0) return out;
  const PairLogRatios r = LogRatios(in);
  const double chosen_mean = r.chosen.mean(), rejected_mean = r.rejected.mean();
  const double chosen_kl = std::max(chosen_mean, 0.0);
  const double rejected_kl = std::max(rejected_mean, 0.0);
  double d_chosen_kl = 0, d_rejected_kl = 0;
  for (Eigen::Index i = 0; i < batch; ++i) {
    const LogisticValues w = Logistic(beta * (r.chosen[i] - rejected_kl));
    const LogisticValues l = Logistic(beta * (chosen_kl - r.rejected[i]));
    const double w_slope = 0.5 * beta * w.p * w.q;
    const double l_slope = 0.5 * beta * l.p * l.q;
    out.loss[i] = 0.5 * (w.q + l.q);
    out.d_policy_chosen[i] = -w_slope;
    out.d_policy_rejected[i] = l_slope;
    d_rejected_kl += w_slope;
    d_chosen_kl -= l_slope;
  }
  if (options.detach_kl) return out;
  const auto count = static_cast<double>(batch);
  if (chosen_mean >= 0) out.d_policy_chosen += d_chosen_kl / count;
  if (rejected_mean >= 0) out.d_policy_rejected += d_rejected_kl / count;
  return out;
}

}  // namespace align::losses
