#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "align/base/precision.h"
#include "align/models/model_config.h"
#include "align/nn/lora.h"

namespace align {

// What a training step is given, for a prediction of its memory: `batch`
// sequences of `length` tokens in one micro-batch, all scored.
struct TrainingShape {
  int64_t batch = 1;
  int64_t length = 512;
  // Arenas as large as the trained parameters that the optimizer keeps: 2 for
  // AdamW.
  int64_t optimizer_state = 2;
  int64_t head_cache_mb = 256;         // ScoreOptions'
  bool recompute_activations = false;  // SetRecomputeActivations
};

// Bytes that tensors take from the pool (align/base/storage.h), by what for.
// Derived from the operations that each family records, all outputs of which
// live until the walk back has passed them.
struct MemoryPlan {
  int64_t weights = 0;      // of the model, and of adapters
  int64_t gradients = 0;    // of what is trained
  int64_t optimizer = 0;    // its state
  int64_t activations = 0;  // between the forward pass and the walk back
  // On top of those at the fullest moment: the logits of the head and their
  // gradients, or the gradients inside a block, and all of the block where it
  // is computed again.
  int64_t transient = 0;

  int64_t Total() const {
    return weights + gradients + optimizer + activations + transient;
  }
};

// Bytes of the weights of a valid config in f32, as loaded.
int64_t WeightBytes(const ModelConfig& config);
// Bytes of the copies, laid out for oneDNN, of the matrices that products of
// the model multiply by, in `precision`. A model that computes without
// gradients, frozen or sampled from, keeps them until its weights change: in
// bf16 always, in f32 where products have few rows, as in decoding.
int64_t PackedBytes(const ModelConfig& config, Precision precision);
// Bytes of keys and values that a cache holds for each token.
int64_t CacheBytesPerToken(const ModelConfig& config);

// A step that trains everything, or adapters with `lora` on the layers `sites`.
MemoryPlan PlanTraining(const ModelConfig& config, const TrainingShape& shape);
MemoryPlan PlanLoraTraining(const ModelConfig& config,
                            const TrainingShape& shape, const LoraOptions& lora,
                            const std::vector<LoraSite>& sites);

}  // namespace align
