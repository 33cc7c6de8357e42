#pragma once

#include <string>
#include <vector>

#include "align/models/model.h"
#include "align/models/value_head.h"
#include "align/ops/packed_batch.h"
#include "align/train/run_loop.h"
#include "losses/ppo.h"

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
  MetricSums rollout_metrics;  // passed on to the step's report
};

struct PpoObjectiveOptions {
  double temperature = 1;     // divides the logits, as in sampling
  double value_weight = 0.1;  // vf_coef
  // A micro-batch with a larger mean ratio teaches nothing
  // (losses::RatiosRanAway); 0: none is dropped.
  double ratio_threshold = 0;
  losses::PpoPolicyOptions policy;
  losses::PpoValueOptions value;
};

// losses::PpoPolicyLoss plus value_weight times losses::PpoValueLoss, summed
// over tokens; the weight is the number of tokens. Values are those of the
// state before every scored token, from a separate `critic`, a classifier with
// one label, or from `head` on the policy's own trunk, which then learns from
// both losses in one backward pass. All have gradients and outlive the
// objective. Metrics by TRL's names: loss/{policy,value}_avg,
// policy/{approxkl,clipfrac,entropy}_avg, val/{clipfrac_avg,ratio}, num_tokens
// (distinct tokens that went through the model); approxkl is half the mean
// squared log-ratio. Returns kInvalidArgument for spans of another length than
// the scored tokens or ids that the models do not have.
Objective<PpoBatch> PpoObjective(const Model& policy, const Model& critic,
                                 const PpoObjectiveOptions& options = {});
Objective<PpoBatch> PpoObjective(const Model& policy, const ValueHead& head,
                                 const PpoObjectiveOptions& options = {});

// Values in the state before each scored token -> [R, 1]: those of `critic`, or
// of `head` on the trunk of `policy`.
Tensor TokenValues(const Model& critic, const PackedBatch& packed);
Tensor TokenValues(const Model& policy, const ValueHead& head,
                   const PackedBatch& packed);

}  // namespace align::train
