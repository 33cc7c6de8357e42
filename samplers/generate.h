#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/models/model.h"
#include "samplers/logits_processors.h"

namespace align::samplers {

struct SamplingOptions {
  int64_t max_new_tokens = 64;
  double temperature = 1;     // 0: the most likely token, ties to the lower id
  LogitsOptions logits = {};  // what may be sampled
  // Absorbed, DeepSeek's latent attention holds and reads less, to rounding.
  CacheMode cache_mode = CacheMode::kExact;
  std::vector<int32_t> stop_ids = {};  // ends a completion, and is part of it
  int64_t max_rows = 64;               // sequences decoded together
};

// One sampled reply. `log_probs[i]` is log p(tokens[i]) under the temperature-
// scaled, otherwise unfiltered distribution: what PPO scores, and to the bit
// what ScoreTokens gives at that temperature (1 when sampling greedily), if the
// cache is exact.
struct Completion {
  std::vector<int32_t> tokens;
  std::vector<float> log_probs;
  bool stopped = false;  // ended by a stop id, not by max_new_tokens
};

// `samples` completions of every prompt: result[p * samples + k]. Completion k
// of prompt p draws from rng.Fork(ids[p]).Fork(k) (ids = 0, 1, ... when empty)
// and depends on model, prompt and that stream alone, not on batch, order or
// threads. Prompts are computed once and shared among their samples; finished
// rows leave the batch and waiting ones enter. kInvalidArgument for an empty
// prompt, an id outside the vocabulary, or a prompt that with max_new_tokens
// exceeds the model's positions, options outside their ranges, a cache mode
// that the model does not have or a model that is a classifier. `stop` is
// polled between steps, by one thread at a time: kCancelled. Keys and values of
// at most max_rows replies and their prompts are held at a time.
absl::StatusOr<std::vector<Completion>> Generate(
    const Model& model, std::span<const std::vector<int32_t>> prompts,
    int64_t samples, const SamplingOptions& options, const Rng& rng,
    std::span<const uint64_t> ids = {},
    const std::function<bool()>& stop = nullptr);

// Makes the logits that are sampled from, `combined` [V], of those of several
// models for one row, `logits[m]` [V] each, scaled by the temperature.
using LogitRule = std::function<void(
    std::span<const std::span<const float>> logits, std::span<float> combined)>;

// The geometric mixture: log p = sum_m weights[m] log p_m, normalised. Munos et
// al. 2023 (Nash-MD, arXiv 2312.00886), section 7: weights 1 - beta of the
// policy and beta of the reference.
LogitRule GeometricMixture(std::vector<double> weights);

// As Generate, from what `rule` makes of the logits of all `models`, token by
// token; log-probs are those of that distribution. A mixture of one model with
// weight 1 gives that model's samples to the bit. kInvalidArgument also for
// models of different vocabularies.
absl::StatusOr<std::vector<Completion>> GenerateCombined(
    std::span<const Model* const> models, const LogitRule& rule,
    std::span<const std::vector<int32_t>> prompts, int64_t samples,
    const SamplingOptions& options, const Rng& rng,
    std::span<const uint64_t> ids = {},
    const std::function<bool()>& stop = nullptr);

// One token from scaled logits [V] with their log-sum-exp, after `context`
// (prompt and reply so far; read only where options.logits look back): inverts
// the cumulative distribution of what options.logits leave, in order of id, at
// `uniform` in [0, 1). Temperature 0: the largest.
int32_t SampleToken(std::span<const float> logits, double log_sum_exp,
                    const SamplingOptions& options, double uniform,
                    std::span<const int32_t> context = {});

}  // namespace align::samplers
