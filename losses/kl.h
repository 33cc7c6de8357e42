#pragma once

// Estimators of KL(policy || reference) from log-probs of sampled tokens, and
// the controllers of its coefficient.

#include <algorithm>
#include <cmath>

#include "losses/numerics.h"
#include "losses/options.h"

namespace align::losses {

// k1, k2, k3: Schulman 2020, http://joschu.net/blog/kl-approx.html. With
// q = log pi - log ref of a token sampled from pi:
enum class KlEstimator {
  kK1,   // q                    unbiased, may be negative
  kK2,   // q^2 / 2              biased, low variance (TRL 0.7 "mse")
  kK3,   // exp(-q) - 1 + q      unbiased and never negative
  kAbs,  // |q|                  (TRL 0.7 "abs")
};

// The value of one token and its slope by q. exp stops at kMaxExponent.
inline ValueSlope KlOf(KlEstimator estimator, double q) {
  switch (estimator) {
    case KlEstimator::kK1:
      return {q, 1.0};
    case KlEstimator::kK2:
      return {0.5 * q * q, q};
    case KlEstimator::kK3: {
      // expm1: exp(-q) - 1 loses all digits of a small q.
      const double e = std::expm1(std::min(-q, kMaxExponent));
      return {e + q, -q <= kMaxExponent ? -e : 1.0};
    }
    case KlEstimator::kAbs:
      return {std::abs(q), q == 0 ? 0.0 : std::copysign(1.0, q)};
  }
  return {};
}

// An estimator as libraries use it: with limits, and with another gradient
// than its own.
struct KlRule {
  KlEstimator estimator = KlEstimator::kK3;
  bool straight_through = false;
  double max_log_ratio = 0;
  double max_value = 0;

  void Describe(OptionList& list) {
    list.Choice("kl_estimator", &estimator,
                {{"k1", KlEstimator::kK1},
                 {"k2", KlEstimator::kK2},
                 {"k3", KlEstimator::kK3},
                 {"abs", KlEstimator::kAbs}},
                "per token, with q = log pi - log ref: k1 q (verl kl), k2 "
                "q^2/2 (verl, TRL 0.7 mse), k3 exp(-q) - 1 + q (TRL; verl "
                "low_var_kl), abs |q|");
    list.Flag("kl_straight_through", &straight_through,
              "the gradient of k2 under the value of the estimator: verl's "
              "k1+ and k3+. As a loss k1 pulls nowhere on average and k3 the "
              "wrong KL's way");
    list.Number("kl_max_log_ratio", &max_log_ratio, {.low = 0},
                "q stays within +- this, gradient 0 beyond; 0 is off (TRL). "
                "verl's k3 and NeMo-RL: 20");
    list.Number("kl_max", &max_value, {.low = 0},
                "the value stays within +- this, gradient 0 beyond; 0 is off "
                "(TRL). verl's k3, NeMo-RL and OpenRLHF: 10");
  }

  // Of one token, by q.
  ValueSlope At(double q) const {
    const double limit = max_log_ratio;
    const bool out = limit > 0 && std::abs(q) > limit;
    ValueSlope at = KlOf(estimator, out ? Clip(q, -limit, limit) : q);
    if (out) at.slope = 0;
    if (max_value > 0 && std::abs(at.value) > max_value) {
      at = {std::copysign(max_value, at.value), 0.0};
    }
    if (straight_through) at.slope = q;
    return at;
  }
};

// One value a token, [N].
inline Eigen::ArrayXd EstimateKl(const KlRule& rule,
                                 const Eigen::ArrayXd& log_prob,
                                 const Eigen::ArrayXd& reference_log_prob) {
  return (log_prob - reference_log_prob).unaryExpr([&rule](double q) {
    return rule.At(q).value;
  });
}
inline Eigen::ArrayXd EstimateKl(KlEstimator estimator,
                                 const Eigen::ArrayXd& log_prob,
                                 const Eigen::ArrayXd& reference_log_prob) {
  return EstimateKl(KlRule{.estimator = estimator}, log_prob,
                    reference_log_prob);
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
