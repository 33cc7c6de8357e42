#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/models/model.h"
#include "align/ops/packed_batch.h"

// What the benches of models share: which model they run on, random input, and
// how much work a step is.
namespace align::bench {

// A model by name: "tiny", new with 23 thousand parameters, so that tests end
// in milliseconds; "small", new with 40 million, whose shapes are those of a
// real one; or a Hugging Face directory. Errors are those of the directory.
absl::StatusOr<ModelConfig> BenchConfig(const std::string& name);
absl::StatusOr<std::unique_ptr<Model>> BenchModel(const std::string& name);
// The same trunk with a new reward head.
absl::StatusOr<std::unique_ptr<Model>> BenchRewardModel(
    const std::string& name);

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab, Rng rng);

// `prompts` random prompts of `prompt_tokens`, each with `replies` random
// replies of `reply_tokens`: what a step is measured on.
struct BatchShape {
  int64_t prompts = 8;
  int64_t replies = 1;
  int64_t prompt_tokens = 64;
  int64_t reply_tokens = 64;
};
PackedBatch RandomBatch(const BatchShape& shape, int64_t vocab);

// How many rows of the batch are read: those that tokens are scored at, or the
// last of each reply where none is.
int64_t RowsRead(const PackedBatch& batch);

// Multiply-adds, counted as two, of a forward pass of a Llama: weights of the
// blocks over the batch's distinct tokens, of the last block but keys and
// values over the rows that are read and, unless it is a classifier, the head
// over its scored tokens. Attention's own products are left out. A training
// step is worth three of these, a reference one.
double ForwardFlops(const ModelConfig& config, const PackedBatch& batch);

}  // namespace align::bench
