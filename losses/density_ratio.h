#pragma once

// How much likelier a prompt is in one set than in another, from a logistic
// regression on embeddings of prompts: the importance weights of BCO's
// underlying distribution matching.

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <cmath>

#include "losses/numerics.h"
#include "losses/unpaired.h"

namespace align::losses {

struct LogisticOptions {
  // Factor of the data term against |w|^2 / 2; scikit-learn's C, TRL leaves it
  // at 1. The bias is not penalised.
  double inverse_regularization = 1.0;
  // Both classes count the same in sum, whatever their sizes: scikit-learn's
  // class_weight = "balanced", which TRL sets. The ratio is then that of the
  // densities; otherwise that of the counts too.
  bool balanced = true;
  int max_iterations = 100;
  double tolerance = 1e-10;  // on the gradient's largest entry
};

// logit p(desirable | x) = weights . x + bias.
struct LogisticClassifier {
  Eigen::VectorXd weights;  // [D]
  double bias = 0;
  bool converged = false;

  // One logit a row of `x`, [N, D].
  Eigen::ArrayXd Logits(const Eigen::MatrixXd& x) const {
    return (x * weights).array() + bias;
  }
};

// Minimises C sum_i c_i softplus(-s_i logit(x_i)) + |w|^2 / 2 over w and b,
// s_i = +-1 by label and c_i the class weight, by Newton's method with step
// halving. x is [N, D]; both classes must occur, otherwise the classifier is 0
// (ratio 1) and not converged. Source: McCullagh and Nelder 1989, section 4.4.
inline LogisticClassifier FitLogistic(const Eigen::MatrixXd& x,
                                      const Labels& desirable,
                                      const LogisticOptions& options = {}) {
  const Eigen::Index rows = x.rows(), width = x.cols();
  LogisticClassifier out{Eigen::VectorXd::Zero(width)};
  const auto positive = static_cast<double>(desirable.count());
  const double count = static_cast<double>(rows);
  if (positive == 0 || positive == count) return out;
  Eigen::MatrixXd design(rows, width + 1);
  design << x, Eigen::VectorXd::Ones(rows);
  const Eigen::ArrayXd ones = Eigen::ArrayXd::Ones(rows);
  const Eigen::ArrayXd sign = desirable.select(ones, -ones);
  Eigen::ArrayXd weight = options.inverse_regularization * ones;
  if (options.balanced) {
    weight *= desirable.select(ones * (count / (2 * positive)),
                               ones * (count / (2 * (count - positive))));
  }
  Eigen::VectorXd penalty = Eigen::VectorXd::Ones(width + 1);
  penalty[width] = 0;
  const auto value = [&](const Eigen::VectorXd& at) {
    return -(weight * LogSigmoid(Eigen::ArrayXd(sign * (design * at).array())))
                .sum() +
           0.5 * (penalty.array() * at.array().square()).sum();
  };
  Eigen::VectorXd at = Eigen::VectorXd::Zero(width + 1);
  for (int i = 0; i < options.max_iterations && !out.converged; ++i) {
    const Eigen::ArrayXd logits = (design * at).array();
    const Eigen::ArrayXd miss = Sigmoid(Eigen::ArrayXd(-sign * logits));
    const Eigen::VectorXd gradient =
        penalty.cwiseProduct(at) -
        design.transpose() * (weight * sign * miss).matrix();
    out.converged = gradient.cwiseAbs().maxCoeff() <= options.tolerance * count;
    if (out.converged) break;
    const Eigen::ArrayXd curvature = weight * miss * (1 - miss);
    Eigen::MatrixXd hessian =
        design.transpose() * curvature.matrix().asDiagonal() * design;
    hessian.diagonal() += penalty;
    const Eigen::VectorXd step = hessian.ldlt().solve(gradient);
    const double before = value(at);
    double scale = 1;
    while (scale > 1e-8 && !(value(at - scale * step) <= before)) scale /= 2;
    at -= scale * step;
  }
  out.weights = at.head(width);
  out.bias = at[width];
  return out;
}

// p / (1 - p + 1e-8) of p = sigmoid(logit): the ratio of the densities that the
// two sets have at a prompt, before it is clipped. 1e-8 is TRL's; it matters
// beyond 1e6 only.
inline Eigen::ArrayXd DensityRatio(const Eigen::ArrayXd& logits) {
  return Sigmoid(logits) / (Sigmoid(Eigen::ArrayXd(-logits)) + 1e-8);
}

}  // namespace align::losses
