#pragma once

// Log-probabilities and entropies from rows of logits, in double: for engines
// that hand over logits. (This toolkit's own models use a fused operation that
// never holds a row.)

#include <Eigen/Core>
#include <cmath>

namespace align::losses {

struct TokenScore {
  double log_prob = 0;         // log softmax(logits)[label]
  double entropy = 0;          // -sum_v p_v log p_v, nats
  double log_sum_squares = 0;  // log sum_v p_v^2, for WPO's weights
};

// log softmax of a row [V]. The maximum is taken off first: exp overflows
// above 709.
inline Eigen::ArrayXd LogSoftmax(const Eigen::ArrayXd& logits) {
  const Eigen::ArrayXd shifted = logits - logits.maxCoeff();
  return shifted - std::log(shifted.exp().sum());
}

// Score of `label` (0 <= label < V) under a row of logits [V], V >= 1.
inline TokenScore ScoreToken(const Eigen::ArrayXd& logits, Eigen::Index label) {
  const Eigen::ArrayXd log_probs = LogSoftmax(logits);
  const Eigen::ArrayXd p = log_probs.exp();
  // A probability that underflows to 0 contributes 0, not 0 * inf.
  return {log_probs[label], -(p > 0.0).select(p * log_probs, 0.0).sum(),
          std::log(p.square().sum())};
}

// d (log_prob_seed * log_prob + entropy_seed * entropy) / d logits, [V]:
//   log_prob: onehot(label) - p;   entropy: -p (log p + H)
inline Eigen::ArrayXd ScoreTokenGradient(const Eigen::ArrayXd& logits,
                                         Eigen::Index label,
                                         double log_prob_seed,
                                         double entropy_seed = 0) {
  const Eigen::ArrayXd log_probs = LogSoftmax(logits);
  const Eigen::ArrayXd p = log_probs.exp();
  const Eigen::ArrayXd p_log_p = (p > 0.0).select(p * log_probs, 0.0);
  const double entropy = -p_log_p.sum();
  Eigen::ArrayXd out =
      -log_prob_seed * p - entropy_seed * (p_log_p + p * entropy);
  out[label] += log_prob_seed;
  return out;
}

}  // namespace align::losses
