#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "align/train/run_loop.h"

namespace align::train {

// A minibatch of sampled completions; one entry a scored token [R] each. The
// value of a token is that of the state it was sampled in.
struct PpoBatch {
  PackedBatch packed;
  std::vector<double> old_log_probs;  // the sampler's, in nats
  std::vector<double> advantages;     // whitened or not
  std::vector<double> old_values;
  std::vector<double> returns;  // formed before whitening
  std::vector<std::string> ids;
};

// Per token: the loss, its derivative by the log-prob or value, and whether the
// clip decided.
struct TokenLossValues {
  std::vector<double> loss;
  std::vector<double> seed;
  std::vector<uint8_t> clipped;
};
// Of log-probs, old log-probs and advantages.
using PolicyLoss = std::function<TokenLossValues(
    std::span<const double>, std::span<const double>, std::span<const double>)>;
// Of values, old values and returns.
using ValueLoss = PolicyLoss;

struct PpoObjectiveOptions {
  double temperature = 1;     // divides the logits, as in sampling
  double value_weight = 0.1;  // vf_coef
};

// Policy loss plus value_weight times value loss, summed over tokens; the
// weight is the number of tokens. `policy` and `critic`, a classifier with one
// label that is read in the state before every scored token, have gradients and
// outlive the objective. Metrics by TRL's names: loss/{policy,value}_avg,
// policy/{approxkl,clipfrac,entropy}_avg, val/{clipfrac_avg,ratio}; approxkl is
// half the mean squared log-ratio. Returns kInvalidArgument for spans of
// another length than the scored tokens or ids that the models do not have.
Objective<PpoBatch> PpoObjective(const Model& policy, const Model& critic,
                                 PolicyLoss policy_loss, ValueLoss value_loss,
                                 const PpoObjectiveOptions& options = {});

// Values of `critic` in the state before each scored token -> [R, 1].
Tensor TokenValues(const Model& critic, const PackedBatch& packed);

}  // namespace align::train
