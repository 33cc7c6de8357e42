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
#include "align/nn/lora.h"
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

// What the router of one layer with experts said of N tokens.
struct RouterOutput {
  Tensor logits;                 // [N, E], recorded
  std::vector<int32_t> experts;  // [N, k] chosen
};

// A decoder-only transformer: embeds packed tokens and gives the rows after its
// final norm. What is done with them (scores of tokens, a reward) is the
// caller's. Owns its parameters, unless it shares another's, and its adapters;
// const methods may run concurrently as long as no gradients are recorded.
class Model {
 public:
  virtual ~Model() = default;

  // A model of a valid config with every parameter 0.
  static std::unique_ptr<Model> MakeEmpty(const ModelConfig& config);

  const ModelConfig& config() const { return config_; }
  ParamStore& params() { return *params_; }
  const ParamStore& params() const { return *params_; }

  // The adapters on its linear layers, or null. While there are any, params()
  // must be frozen.
  LoraAdapters* adapters() { return adapters_.get(); }
  const LoraAdapters* adapters() const { return adapters_.get(); }
  void SetAdapters(std::unique_ptr<LoraAdapters> adapters);
  // What training changes: the adapters' parameters, or without any all.
  ParamStore& trained();
  // The same model with adapters off, scores to the bit those of its base: it
  // reads params() of this one, which must outlive it, and holds none.
  std::unique_ptr<Model> WithoutAdapters() const;

  // Final hidden rows [N, D] of N tokens cut into `segments`. Ids must be in
  // [0, vocab_size): check input with CheckTokens.
  Tensor Hidden(std::span<const int32_t> tokens,
                const Segments& segments) const {
    return Hidden(tokens, segments, {});
  }
  // The same where only the rows `read`, in any order, are read; none: all.
  // The last block leaves the others out but for their keys and values, and
  // they are zero.
  virtual Tensor Hidden(std::span<const int32_t> tokens,
                        const Segments& segments,
                        std::span<const int32_t> read) const = 0;

  // All rows, and what the routers said of the tokens, in order of layers; none
  // without experts.
  virtual Tensor HiddenAndRouters(std::span<const int32_t> tokens,
                                  const Segments& segments,
                                  std::vector<RouterOutput>& routers) const = 0;

  // Rows as Hidden's, for tokens that continue cached sequences, one entry of
  // `rows` after the other; writes their keys and values and advances the
  // cache. Not recorded. Bits equal Hidden's where the cache is exact.
  Tensor HiddenCached(std::span<const int32_t> tokens,
                      std::span<const CachedRows> rows, KvCache& cache) const {
    return HiddenCached(tokens, rows, cache, {});
  }
  // The same where only the rows `read` are read; none: all.
  virtual Tensor HiddenCached(std::span<const int32_t> tokens,
                              std::span<const CachedRows> rows, KvCache& cache,
                              std::span<const int32_t> read) const = 0;

  // A cache that fits this model; `mode` as CheckCacheMode wants it.
  KvCache MakeCache(CacheMode mode = CacheMode::kExact) const;

  // What the routers' auxiliary loss weighs in training
  // (train/router_balance.h); 0: there is none. The model makes nothing of it.
  double router_loss_weight() const { return router_loss_weight_; }
  void set_router_loss_weight(double weight) { router_loss_weight_ = weight; }

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
  std::unique_ptr<ParamStore> own_params_;  // null where another's are shared
  ParamStore* params_ = nullptr;
  std::unique_ptr<LoraAdapters> adapters_;
  double router_loss_weight_ = 0;
};

// A model with the given configuration; weights N(0, initializer_range), norms
// 1, a reward head N(0, 1/sqrt(D + 1)) (Stiennon et al. 2020), drawn from
// `rng` by tensor name.
absl::StatusOr<std::unique_ptr<Model>> CreateModel(const ModelConfig& config,
                                                   const Rng& rng);

// A model from a Hugging Face directory: config.json and model.safetensors, or
// shards and model.safetensors.index.json. A PEFT directory (peft.h) gives its
// base with the adapters merged in; `base` stands for the one that it names.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& directory,
                                                 const std::string& base = "");

// The trunk of a language model with a new scalar reward head on it, as
// the family's ForSequenceClassification: loads either kind of directory; when
// it holds a language model, score.weight is drawn from `rng`.
absl::StatusOr<std::unique_ptr<Model>> LoadRewardModel(
    const std::string& directory, const Rng& rng, const std::string& base = "");

// A copy with its own parameters and adapters, of the same precision.
std::unique_ptr<Model> CloneModel(const Model& model);

enum class WeightFormat { kF32, kF16, kBf16 };

// The format that "f32", "f16" or "bf16" names; kInvalidArgument otherwise.
absl::StatusOr<WeightFormat> ParseWeightFormat(std::string_view name);

// Writes config.json, generation_config.json and model.safetensors (in shards
// beyond `max_shard_bytes`), and carries the tokenizer files of
// `tokenizer_directory` (may be empty) along. Adapters are to be merged first,
// or saved by SaveAdapters. kInvalidArgument for weights that F16 has no room
// for; config.json's torch_dtype says what was written.
absl::Status SaveModel(const Model& model, const std::string& directory,
                       const std::string& tokenizer_directory,
                       WeightFormat format = WeightFormat::kF32,
                       int64_t max_shard_bytes = kMaxShardBytes);

}  // namespace align
