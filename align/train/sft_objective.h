#pragma once

#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/train/run_loop.h"
#include "losses/token_registry.h"

namespace align::train {

struct SftOptions {
  losses::TokenLoss loss = &losses::TokenNll;
  bool entropy = false;  // also report the mean entropy, in nats
};

// The loss of each token, summed; the weight is the number of scored tokens, so
// that under any accumulation a step is the mean over its tokens (as
// transformers with num_items_in_batch). Metrics by TRL's names:
// mean_token_accuracy, entropy if asked, num_tokens (distinct tokens that went
// through the model). `model` must have gradients and outlive the objective.
// Returns kInvalidArgument for ids that the model does not have.
Objective<SftBatch> SftObjective(const Model& model,
                                 const SftOptions& options = {});

}  // namespace align::train
