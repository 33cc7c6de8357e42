#pragma once

#include <cmath>

#include "losses/options.h"
#include "losses/pair.h"
#include "losses/running_moments.h"
#include "losses/score.h"

namespace align::losses {

enum class BcoShift { kRunningMean, kNone };

struct BcoPairOptions {
  double beta = 0.1;
  BcoShift shift = BcoShift::kRunningMean;
  ScoreRule score = {};

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Choice(
        "shift", &shift,
        {{"running_mean", BcoShift::kRunningMean}, {"none", BcoShift::kNone}},
        "delta: the mean over steps of the mean reward (running_mean: the "
        "paper, TRL <= 0.24), or 0 (none: TRL 1.x)");
    score.Describe(list);
  }
  PairNeeds Needs() const {
    const bool running = shift == BcoShift::kRunningMean;
    return {.reference = !score.reference_free,
            .coupled = running,
            .running_mean = running};
  }
};

// BCO for pairs: a classifier of single replies. With the constant delta, beta
// times in.running_mean:
//   loss = -log sigmoid(beta s_w - delta) - log sigmoid(-(beta s_l - delta))
// Jung et al. 2024 (arXiv 2404.04656), eq. 9 and 10. Before each call the
// caller takes the batch into the mean: TakeIntoRunningMean.
inline PairLossResult BcoPairLoss(const PairInputs& in,
                                  const BcoPairOptions& options) {
  const double delta = options.shift == BcoShift::kRunningMean
                           ? options.beta * in.running_mean
                           : 0.0;
  const auto chosen = [delta](double x) {
    return SmoothedLogistic(x - delta, 0);
  };
  const auto rejected = [delta](double x) {
    return SmoothedLogistic(x - delta, 1);
  };
  return SeparateLoss(in, ScorePairs(in, options.score), options.beta, chosen,
                      rejected);
}

// Adds the mean log-ratio of a batch, as one value, to `moments` and gives the
// batch the new mean: the order and the counting are TRL's (<= 0.24). A batch
// that is not finite leaves `moments` as they were.
inline void TakeIntoRunningMean(RunningMoments& moments, PairInputs& in) {
  const double mean = MeanLogRatio(in);
  if (std::isfinite(mean)) moments.Update(Eigen::ArrayXd::Constant(1, mean));
  in.running_mean = moments.mean;
}

}  // namespace align::losses
