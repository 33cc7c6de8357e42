#pragma once

// What TRL 0.7's PPO does in ways of its own.

#include <Eigen/Core>
#include <string>

#include "align/base/status.h"
#include "losses/kl.h"
#include "losses/ppo.h"

namespace align::oracle {

// The estimator that it names kl, abs or mse; kUnimplemented for others.
absl::StatusOr<losses::KlEstimator> EstimatorOf(const std::string& penalty);

// Advantages and returns as TRL 0.7 takes them: over whole rows, prompt and
// padding included, which have a mask of 0 but, once rewards are whitened, a
// reward all the same. All [rows * T], row by row.
struct PaddedAdvantages {
  Eigen::ArrayXd advantages;  // not whitened
  Eigen::ArrayXd returns;
};
PaddedAdvantages AdvantagesOfRows(const Eigen::ArrayXd& rewards,
                                  const Eigen::ArrayXd& values,
                                  const Eigen::ArrayXd& mask, Eigen::Index rows,
                                  bool whiten_rewards,
                                  const losses::GaeOptions& options);

}  // namespace align::oracle
