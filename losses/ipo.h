#pragma once

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/pair.h"

namespace align::losses {

enum class IpoReduction { kMean, kSum };

struct IpoOptions {
  double beta = 0.1;
  IpoReduction reduction = IpoReduction::kMean;
  bool reference_free = false;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "the paper's tau: the target margin is 1 / (2 beta)");
    list.Choice("reduction", &reduction,
                {{"mean", IpoReduction::kMean}, {"sum", IpoReduction::kSum}},
                "log-ratio per token (mean: TRL, after the authors) or per "
                "sequence (sum: OpenRLHF, NeMo-Aligner, the DPO authors); "
                "beta does not carry over between them");
    list.Flag("reference_free", &reference_free,
              "score log-probs instead of log-ratios");
  }
};

// IPO. With scores s = log pi/ref, divided by the token count if reduction is
// mean (counts below 1 count as 1):
//   loss = (s_chosen - s_rejected - 1 / (2 beta))^2
// Azar et al. 2023 (arXiv 2310.12036), eq. 17.
inline PairLossResult IpoPairLoss(const PairInputs& in,
                                  const IpoOptions& options) {
  const PairLogRatios s = Scores(in, options.reference_free);
  const Eigen::Index batch = in.policy_chosen.size();
  Eigen::ArrayXd scale_chosen = Eigen::ArrayXd::Ones(batch);
  Eigen::ArrayXd scale_rejected = Eigen::ArrayXd::Ones(batch);
  if (options.reduction == IpoReduction::kMean) {
    scale_chosen = in.chosen_tokens.max(1.0).inverse();
    scale_rejected = in.rejected_tokens.max(1.0).inverse();
  }
  const Eigen::ArrayXd x = s.chosen * scale_chosen -
                           s.rejected * scale_rejected -
                           1.0 / (2.0 * options.beta);
  PairLossResult out =
      FromMargin(in, options.beta, x.square(), Eigen::ArrayXd(2.0 * x));
  out.d_policy_chosen *= scale_chosen;
  out.d_policy_rejected *= scale_rejected;
  return out;
}

}  // namespace align::losses
