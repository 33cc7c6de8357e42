#pragma once

// Estimators of KL(policy || reference) from log-probs of sampled tokens, and
// the controllers of its coefficient.

#include "losses/numerics.h"

namespace align::losses {

// k1, k2, k3: Schulman 2020, http://joschu.net/blog/kl-approx.html. With
// q = log pi - log ref of a token sampled from pi:
enum class KlEstimator {
  kK1,   // q                    unbiased, may be negative
  kK2,   // q^2 / 2              biased, low variance (TRL 0.7 "mse")
  kK3,   // exp(-q) - 1 + q      unbiased and never negative
  kAbs,  // |q|                  (TRL 0.7 "abs")
};

// One value a token, [N].
inline Eigen::ArrayXd EstimateKl(KlEstimator estimator,
                                 const Eigen::ArrayXd& log_prob,
                                 const Eigen::ArrayXd& reference_log_prob) {
  const Eigen::ArrayXd q = log_prob - reference_log_prob;
  switch (estimator) {
    case KlEstimator::kK1:
      return q;
    case KlEstimator::kK2:
      return 0.5 * q.square();
    case KlEstimator::kK3:
      // expm1: exp(-q) - 1 loses all digits of a small q.
      return q.unaryExpr([](double v) { return std::expm1(-v) + v; });
    case KlEstimator::kAbs:
      return q.abs();
  }
  return {};
}

// Exact KL at N positions from whole log distributions, [N, V] each:
// sum_v exp(log_p) (log_p - log_r); 0 where p is 0.
inline Eigen::ArrayXd FullKl(const Eigen::ArrayXXd& log_probs,
                             const Eigen::ArrayXXd& reference_log_probs) {
  const Eigen::ArrayXXd p = log_probs.exp();
  return (p > 0.0)
      .select(p * (log_probs - reference_log_probs), 0.0)
      .rowwise()
      .sum();
}

struct AdaptiveKlOptions {
  double initial = 0.2;    // coefficient at the start
  double target = 6.0;     // nats per sequence
  double horizon = 10000;  // samples
  double max_error = 0.2;  // the proportional error is clipped to +- this
};

// The coefficient of the KL penalty, moved towards a target KL:
//   error = clip(kl / target - 1, +-0.2); coef *= 1 + error * n / horizon
// Ziegler et al. 2019 (arXiv 1909.08593), section 2.2. A fixed controller is
// one that is never updated.
class AdaptiveKlController {
 public:
  explicit AdaptiveKlController(const AdaptiveKlOptions& options = {})
      : options_(options), coefficient_(options.initial) {}

  double coefficient() const { return coefficient_; }
  // For resuming from a checkpoint.
  void set_coefficient(double value) { coefficient_ = value; }

  // After `samples` sequences whose mean KL was `kl` nats.
  void Update(double kl, double samples) {
    const double error = Clip(kl / options_.target - 1.0, -options_.max_error,
                              options_.max_error);
    coefficient_ *= 1.0 + error * samples / options_.horizon;
  }

 private:
  AdaptiveKlOptions options_;
  double coefficient_;
};

// A coefficient that stays what it was; same calls as the adaptive one.
class FixedKlController {
 public:
  explicit FixedKlController(double coefficient) : coefficient_(coefficient) {}
  double coefficient() const { return coefficient_; }
  void Update(double /*kl*/, double /*samples*/) {}

 private:
  double coefficient_;
};

}  // namespace align::losses
