#pragma once

#include <Eigen/Core>

namespace align::losses {

struct TokenLossResult {
  Eigen::ArrayXd loss;        // [N]
  Eigen::ArrayXd d_log_prob;  // [N] d sum(loss) / d log_prob
};

// Negative log-likelihood of N tokens, un-reduced: loss = -log_prob. Divide by
// the number of scored tokens of the whole step (not of a micro-batch).
inline TokenLossResult TokenNll(const Eigen::ArrayXd& log_prob) {
  return {-log_prob, Eigen::ArrayXd::Constant(log_prob.size(), -1.0)};
}

}  // namespace align::losses
