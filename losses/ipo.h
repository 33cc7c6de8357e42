#pragma once

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/score.h"

namespace align::losses {

enum class IpoReduction { kMean, kSum };

struct IpoOptions {
  double beta = 0.1;
  IpoReduction reduction = IpoReduction::kMean;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "the paper's tau: the target margin is 1 / (2 beta)");
    list.Choice("reduction", &reduction,
                {{"mean", IpoReduction::kMean}, {"sum", IpoReduction::kSum}},
                "score per token (mean: TRL, after the authors) or per "
                "sequence (sum: OpenRLHF, NeMo-Aligner, the DPO authors); "
                "beta does not carry over between them");
    score.Describe(list);
  }
  PairNeeds Needs() const {
    return {.reference = !score.reference_free,
            .lengths = reduction == IpoReduction::kMean};
  }
};

// IPO. With scores s = log pi/ref, divided by the token count if reduction is
// mean (counts below 1 count as 1):
//   loss = (s_chosen - s_rejected - 1 / (2 beta))^2
// Azar et al. 2023 (arXiv 2310.12036), eq. 17.
inline PairLossResult IpoPairLoss(const PairInputs& in,
                                  const IpoOptions& options) {
  PairScores scores = ScorePairs(in, options.score);
  if (options.reduction == IpoReduction::kMean) AverageOverTokens(in, scores);
  const double target = 1.0 / (2.0 * options.beta);
  return MarginLoss(in, scores, 1.0, options.beta,
                    [target](double margin) -> ValueSlope {
                      const double x = margin - target;
                      return {x * x, 2 * x};
                    });
}

}  // namespace align::losses
