#pragma once

// NLL with a share of the label spread evenly over the vocabulary.

#include <Eigen/Core>

#include "losses/log_softmax.h"

namespace align::losses {

struct SmoothedNllResult {
  Eigen::ArrayXd loss;             // [N]
  Eigen::ArrayXd d_log_prob;       // [N] d sum(loss) / d log_prob
  Eigen::ArrayXd d_mean_log_prob;  // [N] d sum(loss) / d mean_log_prob
};

// -(1 - smoothing) log p(label) - smoothing mean_v log p(v) of N tokens,
// un-reduced. Szegedy et al. 2015 (arXiv 1512.00567), section 7; Hugging Face's
// LabelSmoother. Divide as TokenNll.
inline SmoothedNllResult SmoothedNll(const Eigen::ArrayXd& log_prob,
                                     const Eigen::ArrayXd& mean_log_prob,
                                     double smoothing) {
  return {-(1 - smoothing) * log_prob - smoothing * mean_log_prob,
          Eigen::ArrayXd::Constant(log_prob.size(), smoothing - 1),
          Eigen::ArrayXd::Constant(log_prob.size(), -smoothing)};
}

// mean_v log softmax(logits)_v of a row [V].
inline double MeanLogProb(const Eigen::ArrayXd& logits) {
  return LogSoftmax(logits).mean();
}

// Its gradient by the logits, [V]: 1 / V - p_v.
inline Eigen::ArrayXd MeanLogProbGradient(const Eigen::ArrayXd& logits) {
  return 1.0 / static_cast<double>(logits.size()) - LogSoftmax(logits).exp();
}

}  // namespace align::losses
