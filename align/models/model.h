#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/models/model_config.h"
#include "align/models/safetensors_writer.h"
#include "align/nn/kv_cache.h"
#include "align/nn/param_store.h"
#include "align/ops/segments.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tensor.h"

namespace align {

// New tokens of one cached sequence.
struct CachedRows {
  int32_t sequence = 0;  // in the KvCache
  int64_t rows = 0;
};

// A decoder-only transformer: embeds packed tokens and gives the rows after its
// final norm. What is done with them (scores of tokens, a reward) is the
// caller's. Owns its parameters; const methods may run concurrently as long as
// no gradients are recorded.
class Model {
 public:
  virtual ~Model() = default;

  const ModelConfig& config() const { return config_; }
  ParamStore& params() { return *params_; }
  const ParamStore& params() const { return *params_; }

  // Final hidden rows [N, D] of N tokens cut into `segments`. Ids must be in
  // [0, vocab_size): check input with CheckTokens.
  virtual Tensor Hidden(std::span<const int32_t> tokens,
                        const Segments& segments) const = 0;

  // The same for tokens that continue cached sequences, one entry of `rows`
  // after the other; writes their keys and values and advances the cache. Not
  // recorded. Bits equal Hidden's.
  virtual Tensor HiddenCached(std::span<const int32_t> tokens,
                              std::span<const CachedRows> rows,
                              KvCache& cache) const = 0;

  // A cache that fits this model.
  virtual KvCache MakeCache() const = 0;

  // The language-model head [V, D] (the embedding table when tied) with its
  // soft cap, or score.weight [num_labels, D] of a sequence classifier.
  LogitHead Head() const;

  // kInvalidArgument naming the first id outside the vocabulary or the sequence
  // longer than max_position_embeddings.
  absl::Status CheckTokens(std::span<const int32_t> tokens,
                           const Segments& segments) const;

 protected:
  explicit Model(ModelConfig config);

 private:
  ModelConfig config_;
  std::unique_ptr<ParamStore> params_;
};

// A model with the given configuration; weights N(0, initializer_range), norms
// 1, a reward head N(0, 1/sqrt(D + 1)) (Stiennon et al. 2020), drawn from
// `rng` by tensor name.
absl::StatusOr<std::unique_ptr<Model>> CreateModel(const ModelConfig& config,
                                                   const Rng& rng);

// A model from a Hugging Face directory: config.json and model.safetensors, or
// shards and model.safetensors.index.json.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& directory);

// The trunk of a language model with a new scalar reward head on it, as
// the family's ForSequenceClassification: loads either kind of directory; when
// it holds a language model, score.weight is drawn from `rng`.
absl::StatusOr<std::unique_ptr<Model>> LoadRewardModel(
    const std::string& directory, const Rng& rng);

// A copy with its own parameters.
std::unique_ptr<Model> CloneModel(const Model& model);

enum class WeightFormat { kF32, kF16, kBf16 };

// The format that "f32", "f16" or "bf16" names; kInvalidArgument otherwise.
absl::StatusOr<WeightFormat> ParseWeightFormat(std::string_view name);

// Writes config.json, generation_config.json and model.safetensors (in shards
// beyond `max_shard_bytes`), and carries the tokenizer files of
// `tokenizer_directory` (may be empty) along. kInvalidArgument for weights that
// F16 has no room for; config.json's torch_dtype says what was written.
absl::Status SaveModel(const Model& model, const std::string& directory,
                       const std::string& tokenizer_directory,
                       WeightFormat format = WeightFormat::kF32,
                       int64_t max_shard_bytes = kMaxShardBytes);

}  // namespace align
