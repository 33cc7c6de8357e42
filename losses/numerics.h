#pragma once

// Scalar and array pieces that every loss shares. Nothing here allocates more
// than its result; all functions are pure and safe to call from any thread.

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

namespace align::losses {

// log(1 + exp(x)) as max(x, 0) + log1p(exp(-|x|)): the naive form is inf above
// 709.
inline double Softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

// log sigmoid(x) = -softplus(-x): log(sigmoid(x)) is -inf below -745.
inline double LogSigmoid(double x) { return -Softplus(-x); }

// 1 / (1 + exp(-x)) without overflow for large |x|.
inline double Sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

// Element-wise forms of the above.
inline Eigen::ArrayXd LogSigmoid(const Eigen::ArrayXd& x) {
  return x.unaryExpr([](double v) { return LogSigmoid(v); });
}
inline Eigen::ArrayXd Sigmoid(const Eigen::ArrayXd& x) {
  return x.unaryExpr([](double v) { return Sigmoid(v); });
}

// The largest exponent that is used, because exp(710) is inf. Beyond it values
// stay and gradients are 0.
constexpr double kMaxExponent = 700;

// log(1 + e) for e in [0, 1], given 1 / (1 + e): the log of the rounded sum
// and, to first order, of what the sum lost. log1p's digits without its
// branches, which no processor can foresee.
inline double Log1pUnit(double e, double inverse) {
  const double sum = 1.0 + e;
  return std::log(sum) + (e - (sum - 1.0)) * inverse;
}

// sigmoid(x), sigmoid(-x) and their logarithms from one exp and one log.
struct LogisticValues {
  double p, q;          // sigmoid(x), sigmoid(-x) = 1 - p
  double log_p, log_q;  // both finite for finite x
};
// `e` is exp(-|x|), for callers that have it already.
inline LogisticValues Logistic(double x, double e) {
  const double large = 1.0 / (1.0 + e), small = e * large;
  const double log_large = -Log1pUnit(e, large);
  const double log_small = log_large - std::abs(x);
  return x >= 0 ? LogisticValues{large, small, log_large, log_small}
                : LogisticValues{small, large, log_small, log_large};
}
inline LogisticValues Logistic(double x) {
  return Logistic(x, std::exp(-std::abs(x)));
}

// log(1 - exp(x)) for x < 0: near 0 by expm1, because 1 - exp(x) cancels, and
// far from it by log1p. Maechler 2012, "Accurately computing log(1 -
// exp(-|a|))" eq. 7. -inf at 0.
inline double Log1mExp(double x) {
  constexpr double kLn2 = 0.693147180559945309417;
  return x > -kLn2 ? std::log(-std::expm1(x)) : std::log1p(-std::exp(x));
}

// e^x and e^x - 1 from one exponential: where one is taken from the other, at
// most two bits cancel.
struct ExpPair {
  double exp, exp_minus_1;
};
inline ExpPair ExpAndExpm1(double x) {
  if (x < -0.25) {
    const double e = std::exp(x);
    return {e, e - 1};
  }
  const double e = std::expm1(x);
  return {e + 1, e};
}

// x limited to [low, high]; gradient 1 inside and on the bounds, 0 outside.
inline double Clip(double x, double low, double high) {
  return std::min(std::max(x, low), high);
}
inline double ClipGradient(double x, double low, double high) {
  return x >= low && x <= high ? 1.0 : 0.0;
}

// A function's value and its slope.
struct ValueSlope {
  double value, slope;
};

// A sum together with what it has to be divided by.
struct WeightedSum {
  double sum = 0;
  double weight = 0;
  // sum / weight; 0 when nothing was counted.
  double Mean() const { return weight == 0 ? 0.0 : sum / weight; }
};

// Sum of values * mask and of mask. An entry with mask 0 is not read, so
// that a non-finite filler cannot leak in.
inline WeightedSum MaskedSum(const Eigen::ArrayXd& values,
                             const Eigen::ArrayXd& mask) {
  return {(mask != 0.0).select(values * mask, 0.0).sum(), mask.sum()};
}

// Mean of `values` where mask is 1; 0 when the mask is empty.
inline double MaskedMean(const Eigen::ArrayXd& values,
                         const Eigen::ArrayXd& mask) {
  return MaskedSum(values, mask).Mean();
}

// Variance where mask is 1, around the masked mean. With `bessel` the divisor
// is n - 1, and for n < 2 the result is 0.
inline double MaskedVariance(const Eigen::ArrayXd& values,
                             const Eigen::ArrayXd& mask, bool bessel = true) {
  const double mean = MaskedMean(values, mask);
  const WeightedSum squares = MaskedSum((values - mean).square(), mask);
  const double divisor = squares.weight - (bessel ? 1.0 : 0.0);
  return divisor <= 0 ? 0.0 : squares.sum / divisor;
}

struct WhitenOptions {
  bool shift_mean = true;  // false: the mean is put back (reward whitening)
  bool bessel = true;
  double epsilon = 1e-8;  // added to the variance
};

// (values - mean) / sqrt(variance + epsilon) over the masked entries. Entries
// outside the mask are transformed alike; the caller zeroes what it ignores.
// Source: Huang et al. 2024 (arXiv 2403.17031), details 14 and 15.
inline Eigen::ArrayXd MaskedWhiten(const Eigen::ArrayXd& values,
                                   const Eigen::ArrayXd& mask,
                                   const WhitenOptions& options = {}) {
  const double mean = MaskedMean(values, mask);
  const double variance = MaskedVariance(values, mask, options.bessel);
  const double scale = 1.0 / std::sqrt(variance + options.epsilon);
  return (values - mean) * scale + (options.shift_mean ? 0.0 : mean);
}

}  // namespace align::losses
