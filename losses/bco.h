#pragma once

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/unpaired.h"

namespace align::losses {

// What bco subtracts from rewards.
enum class BcoDelta { kRunning, kBatch, kGiven };

struct BcoOptions {
  double beta = 0.1;
  BcoDelta delta = BcoDelta::kRunning;
  double delta_value = 0.0;
  bool udm = false;
  double min_density_ratio = 0.5;
  double max_density_ratio = 10.0;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "strength of the pull towards the reference");
    list.Choice("delta", &delta,
                {{"running", BcoDelta::kRunning},
                 {"batch", BcoDelta::kBatch},
                 {"given", BcoDelta::kGiven}},
                "the reward shift: mean of all rewards so far, this batch "
                "included (running: TRL), of this batch (batch), or "
                "delta_value (given)");
    list.Number("delta_value", &delta_value, {},
                "the shift if it is given; 0 is a plain binary classifier");
    list.Flag("udm", &udm,
              "weigh undesirable replies by the density ratio of their prompts "
              "(underlying distribution matching)");
    list.Number("min_density_ratio", &min_density_ratio, {.low = 0},
                "the weight is at least this");
    list.Number("max_density_ratio", &max_density_ratio, {.low = 0},
                "the weight is at most this");
  }
};

// BCO: a binary classifier whose logit is the implicit reward
// r = beta log pi/ref, shifted by delta, which has no gradient:
//   desirable:   -log sigmoid(r - delta)
//   undesirable: -w log sigmoid(-(r - delta))
// w is the density ratio p(desirable | prompt) / p(undesirable | prompt) within
// [min_density_ratio, max_density_ratio] if udm is set, else 1. With a running
// delta `moments` takes in the rewards of the batch first, as TRL does.
// Jung et al. 2024 (arXiv 2404.04656): Theorem 1 (the classifier bounds DPO),
// its reward shift, and in version 1 its underlying distribution matching.
inline UnpairedResult BcoLoss(const UnpairedInputs& in,
                              const BcoOptions& options,
                              RunningMoments& moments) {
  const Eigen::ArrayXd rewards = options.beta * LogRatios(in);
  double delta = options.delta_value;
  if (options.delta == BcoDelta::kRunning) {
    moments.Update(rewards);
    delta = moments.mean;
  } else if (options.delta == BcoDelta::kBatch) {
    delta = rewards.size() == 0 ? 0.0 : rewards.mean();
  }
  Eigen::ArrayXd weight = ByLabel(in, 1.0, 1.0);
  if (options.udm && in.density_ratio.size() > 0) {
    weight = in.desirable.select(weight,
                                 in.density_ratio.max(options.min_density_ratio)
                                     .min(options.max_density_ratio));
  }
  const Eigen::ArrayXd sign = ByLabel(in, 1.0, -1.0);
  const Eigen::ArrayXd x = sign * (rewards - delta);
  return {-weight * LogSigmoid(x),
          -options.beta * weight * sign * Sigmoid(Eigen::ArrayXd(-x)), rewards,
          delta};
}

}  // namespace align::losses
