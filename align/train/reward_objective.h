#pragma once

#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/tensor/tensor.h"
#include "align/train/run_loop.h"
#include "losses/reward_registry.h"

namespace align::train {

// Scores of the last tokens of a batch's sequences -> [sequences, 1]: the rows
// of `model`, a classifier with one label, through score.weight. Recorded when
// the model has gradients. Ids must be in the vocabulary.
Tensor RewardScores(const Model& model, const PackedBatch& packed);

// losses::BradleyTerryLoss with these options.
losses::RewardLoss BradleyTerry(
    const losses::BradleyTerryOptions& options = {});

// The loss summed over pairs; the weight is the number of pairs. Metrics by
// TRL's names: accuracy (strictly higher score), margin, mean_reward,
// min_reward and max_reward (the mean over micro-batches, as TRL's over
// devices), num_tokens. `model` must have gradients and outlive the objective.
// Returns kInvalidArgument for ids that the model does not have or a batch that
// is not made of pairs.
Objective<PreferenceBatch> RewardObjective(const Model& model,
                                           losses::RewardLoss loss);

}  // namespace align::train
