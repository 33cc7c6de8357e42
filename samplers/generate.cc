#include "samplers/generate.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <string>
#include <utility>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/base/team.h"
#include "align/base/threads.h"
#include "align/models/model_cache.h"
#include "align/ops/ops.h"
#include "align/ops/packed_weight.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"

namespace align::samplers {
namespace {

// Prompt tokens in one forward: enough to fill the matrix units.
constexpr int64_t kPrefillRows = 512;
// From this size on weights come from memory, and all threads share one reading
// of them; smaller models decode faster in groups that wait for nobody.
constexpr int64_t kTeamParameters = int64_t{1} << 23;

// What the workers share. Prompts are handed out one by one, so that a worker
// whose replies end early takes more of them.
struct Job {
  std::span<const Model* const> models;
  const LogitRule& rule;  // empty: there is one model
  std::span<const std::vector<int32_t>> prompts;
  int64_t samples;
  const SamplingOptions& options;
  const Rng& rng;
  std::span<const uint64_t> ids;
  const std::function<bool()>& stop;
  std::vector<Completion>& results;
  std::atomic<int64_t> next_prompt = 0;
  std::atomic<bool> cancelled = false;
  std::mutex stop_mutex;

  bool Stopped() {
    if (cancelled || !stop) return cancelled;
    const std::lock_guard<std::mutex> lock(stop_mutex);
    if (!cancelled && stop()) cancelled = true;
    return cancelled;
  }
};

// A prompt in the cache, for as long as replies to it are unfinished.
struct CachedPrompt {
  int64_t prompt = 0;
  int32_t sequence = 0;
  int64_t unfinished = 0;
};

// A reply on its way. `last` is sampled but not yet in the cache.
struct Reply {
  int64_t result = 0;
  size_t prompt = 0;  // index of its CachedPrompt
  int32_t sequence = -1;
  int32_t last = 0;
  Rng rng;
};

// The logits that `rule` makes of those of every model.
HeadLogits Combine(const std::vector<HeadLogits>& heads,
                   const LogitRule& rule) {
  const int64_t rows = heads[0].logits.dim(0), vocab = heads[0].logits.dim(1);
  HeadLogits combined{.logits = Tensor::Empty({rows, vocab})};
  std::vector<std::span<const float>> parts(heads.size());
  for (int64_t row = 0; row < rows; ++row) {
    for (size_t m = 0; m < heads.size(); ++m) {
      parts[m] = {heads[m].logits.data() + row * vocab,
                  static_cast<size_t>(vocab)};
    }
    rule(parts,
         {combined.logits.data() + row * vocab, static_cast<size_t>(vocab)});
  }
  combined.log_sum_exp = RowLogSumExps(combined.logits);
  return combined;
}

// One thread's decoding: its own caches, and up to `max_rows` replies together.
// With a team it leads the others through every step.
class Decoder {
 public:
  Decoder(Job& job, int64_t max_rows, bool team)
      : job_(job), max_rows_(max_rows), team_(team) {
    for (const Model* model : job.models) {
      caches_.push_back(model->MakeCache(job.options.cache_mode));
    }
  }

  void Run() {
    const NoGrad no_grad;
    while (!job_.Stopped()) {
      Fill();
      if (active_.empty()) return;
      if (team_) {
        WithTeam([this] { Steps(); });
      } else {
        Steps();
      }
    }
  }

 private:
  // Lets waiting replies in, and prompts when too few replies wait.
  void Fill() {
    while (Rows() < max_rows_ && Prefill()) {
    }
    while (!waiting_.empty() &&
           static_cast<int64_t>(active_.size()) < max_rows_) {
      Reply reply = std::move(waiting_.back());
      waiting_.pop_back();
      // The last token of a reply is never fed back.
      reply.sequence = AddSequence(job_.options.max_new_tokens - 1,
                                   prompts_[reply.prompt].sequence);
      active_.push_back(std::move(reply));
    }
  }

  int64_t Rows() const {
    return static_cast<int64_t>(active_.size() + waiting_.size());
  }

  // Computes the next prompts in one forward and samples the first token of
  // each of their replies. False when no prompt is left.
  bool Prefill() {
    tokens_.clear();
    rows_.clear();
    std::vector<size_t> slots;
    std::vector<int32_t> last_rows;
    int64_t expected = Rows();
    while (expected < max_rows_ &&
           static_cast<int64_t>(tokens_.size()) < kPrefillRows) {
      const int64_t prompt = job_.next_prompt++;
      if (prompt >= static_cast<int64_t>(job_.prompts.size())) break;
      const std::vector<int32_t>& ids = job_.prompts[prompt];
      const int64_t length = static_cast<int64_t>(ids.size());
      const int32_t sequence = AddSequence(length);
      slots.push_back(AddPrompt({prompt, sequence, job_.samples}));
      rows_.push_back({.sequence = sequence, .rows = length});
      tokens_.insert(tokens_.end(), ids.begin(), ids.end());
      last_rows.push_back(static_cast<int32_t>(tokens_.size()) - 1);
      expected += job_.samples;
    }
    if (slots.empty()) return false;
    const HeadLogits head = Logits(last_rows);
    for (size_t i = 0; i < slots.size(); ++i) Start(slots[i], head, i);
    return true;
  }

  // In every cache, which are used alike: its index is the same in all.
  int32_t AddSequence(int64_t capacity, int32_t parent = -1) {
    int32_t sequence = 0;
    for (KvCache& cache : caches_) {
      sequence = cache.AddSequence(capacity, parent);
    }
    return sequence;
  }
  void Release(int32_t sequence) {
    for (KvCache& cache : caches_) cache.Release(sequence);
  }

  size_t AddPrompt(CachedPrompt prompt) {
    const auto free =
        std::find_if(prompts_.begin(), prompts_.end(),
                     [](const CachedPrompt& p) { return p.unfinished == 0; });
    if (free == prompts_.end()) {
      prompts_.push_back(prompt);
      return prompts_.size() - 1;
    }
    *free = prompt;
    return static_cast<size_t>(free - prompts_.begin());
  }

  // The first token of every reply to a prompt, from row `row` of `head`.
  void Start(size_t slot, const HeadLogits& head, size_t row) {
    const int64_t prompt = prompts_[slot].prompt;
    const uint64_t id =
        job_.ids.empty() ? static_cast<uint64_t>(prompt) : job_.ids[prompt];
    const Rng stream = job_.rng.Fork(id);
    for (int64_t k = 0; k < job_.samples; ++k) {
      Reply reply{.result = prompt * job_.samples + k,
                  .prompt = slot,
                  .rng = stream.Fork(static_cast<uint64_t>(k))};
      Draw(head, static_cast<int64_t>(row), reply);
      if (!Finish(reply)) waiting_.push_back(std::move(reply));
    }
  }

  // Until something that waits can come in.
  void Steps() {
    do {
      Step();
    } while (!active_.empty() && !CanFill() && !job_.Stopped());
  }

  bool CanFill() const {
    return static_cast<int64_t>(active_.size()) < max_rows_ &&
           (!waiting_.empty() ||
            job_.next_prompt < static_cast<int64_t>(job_.prompts.size()));
  }

  // One forward of every active reply's last token, and the tokens after it.
  void Step() {
    tokens_.clear();
    rows_.clear();
    for (const Reply& reply : active_) {
      tokens_.push_back(reply.last);
      rows_.push_back({.sequence = reply.sequence, .rows = 1});
    }
    const HeadLogits head = Logits({});
    ParallelFor(static_cast<int64_t>(active_.size()),
                [&](int64_t i) { Draw(head, i, active_[i]); });
    size_t kept = 0;
    for (size_t i = 0; i < active_.size(); ++i) {
      if (Finish(active_[i])) continue;
      if (kept != i) active_[kept] = std::move(active_[i]);
      ++kept;
    }
    active_.resize(kept);
  }

  // What follows tokens_: after each, or after those at `picked` alone.
  HeadLogits Logits(std::span<const int32_t> picked) {
    const double t = job_.options.temperature;
    std::vector<HeadLogits> heads;
    for (size_t m = 0; m < caches_.size(); ++m) {
      const Model& model = *job_.models[m];
      Tensor hidden = model.HiddenCached(tokens_, rows_, caches_[m], picked);
      if (!picked.empty()) hidden = GatherRows(hidden, picked);
      heads.push_back(ComputeHeadLogits(hidden, model.Head(), t == 0 ? 1 : t));
    }
    return job_.rule ? Combine(heads, job_.rule) : std::move(heads[0]);
  }

  // Prompt and reply so far, where an option looks at them.
  std::vector<int32_t> Context(const Reply& reply,
                               const Completion& result) const {
    if (!job_.options.logits.LooksBack()) return {};
    std::vector<int32_t> context = job_.prompts[prompts_[reply.prompt].prompt];
    context.insert(context.end(), result.tokens.begin(), result.tokens.end());
    return context;
  }

  // Appends a token from row `row` of `head`. Different replies may draw at
  // once.
  void Draw(const HeadLogits& head, int64_t row, Reply& reply) const {
    const SamplingOptions& options = job_.options;
    const int64_t vocab = head.logits.dim(1);
    const std::span<const float> logits(head.logits.data() + row * vocab,
                                        vocab);
    const double uniform = options.temperature == 0 ? 0 : reply.rng.Uniform();
    Completion& result = job_.results[reply.result];
    reply.last = SampleToken(logits, head.log_sum_exp[row], options, uniform,
                             Context(reply, result));
    result.tokens.push_back(reply.last);
    result.log_probs.push_back(
        LogProb(logits[reply.last], head.log_sum_exp[row]));
    result.stopped = std::ranges::count(options.stop_ids, reply.last) > 0;
  }

  // Whether the token just drawn was the reply's last; what it held in the
  // cache is free then.
  bool Finish(const Reply& reply) {
    const Completion& result = job_.results[reply.result];
    if (!result.stopped && static_cast<int64_t>(result.tokens.size()) <
                               job_.options.max_new_tokens) {
      return false;
    }
    if (reply.sequence >= 0) Release(reply.sequence);
    CachedPrompt& prompt = prompts_[reply.prompt];
    if (--prompt.unfinished == 0) Release(prompt.sequence);
    return true;
  }

  Job& job_;
  int64_t max_rows_;
  bool team_;
  std::vector<KvCache> caches_;  // one a model
  std::vector<CachedPrompt> prompts_;
  std::vector<Reply> waiting_, active_;
  std::vector<int32_t> tokens_;
  std::vector<CachedRows> rows_;
};

absl::Status CheckOptions(const SamplingOptions& o, int64_t samples,
                          int64_t vocab) {
  const auto bad = [](const std::string& what) {
    return InvalidArgument("sampling: " + what);
  };
  if (samples < 1) return bad("samples " + std::to_string(samples) + " < 1");
  if (o.max_new_tokens < 1) {
    return bad("max_new_tokens " + std::to_string(o.max_new_tokens) + " < 1");
  }
  if (o.max_rows < 1) {
    return bad("max_rows " + std::to_string(o.max_rows) + " < 1");
  }
  if (!std::isfinite(o.temperature) || o.temperature < 0) {
    return bad("temperature " + std::to_string(o.temperature) +
               " is not a number >= 0");
  }
  ALIGN_RETURN_IF_ERROR(CheckLogitsOptions(o.logits));
  for (int32_t id : o.stop_ids) {
    if (id < 0 || id >= vocab) {
      return bad("stop id " + std::to_string(id) +
                 " is outside the vocabulary of " + std::to_string(vocab));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPrompts(const ModelConfig& config,
                          std::span<const std::vector<int32_t>> prompts,
                          int64_t max_new_tokens) {
  for (size_t p = 0; p < prompts.size(); ++p) {
    const std::string where = "prompt " + std::to_string(p);
    if (prompts[p].empty()) {
      return InvalidArgument(where + ": empty; expected at least one token");
    }
    for (int32_t id : prompts[p]) {
      if (id < 0 || id >= config.vocab_size) {
        return InvalidArgument(where + ": token id " + std::to_string(id) +
                               " is outside the vocabulary of " +
                               std::to_string(config.vocab_size));
      }
    }
    const int64_t length = static_cast<int64_t>(prompts[p].size());
    if (length > config.max_position_embeddings - max_new_tokens) {
      return InvalidArgument(
          where + ": " + std::to_string(length) + " tokens and " +
          std::to_string(max_new_tokens) + " new ones exceed the model's " +
          std::to_string(config.max_position_embeddings) + " positions");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckModels(std::span<const Model* const> models) {
  ALIGN_CHECK(!models.empty()) << "[GenerateCombined] no models";
  for (const Model* model : models) {
    const ModelConfig& config = model->config();
    if (config.classifier()) {
      return InvalidArgument(
          "generation needs a language model, got " +
          std::string(ArchitectureName(config.architecture)));
    }
    if (config.vocab_size == models[0]->config().vocab_size) continue;
    return InvalidArgument("generation from several models: vocabularies of " +
                           std::to_string(models[0]->config().vocab_size) +
                           " and " + std::to_string(config.vocab_size) +
                           " ids; expected one size");
  }
  return absl::OkStatus();
}

// Whether the threads should share every step instead of the replies.
bool WorthTeam(std::span<const Model* const> models) {
  return std::ranges::all_of(models, [](const Model* model) {
    return model->params().parameter_count() >= kTeamParameters &&
           TeamsShareProducts(model->params().precision());
  });
}

}  // namespace

LogitRule GeometricMixture(std::vector<double> weights) {
  return [weights = std::move(weights)](
             std::span<const std::span<const float>> logits,
             std::span<float> combined) {
    ALIGN_CHECK(logits.size() == weights.size())
        << "[GeometricMixture] " << weights.size() << " weights for "
        << logits.size() << " models";
    for (size_t v = 0; v < combined.size(); ++v) {
      double sum = 0;
      for (size_t m = 0; m < weights.size(); ++m) {
        sum += weights[m] * logits[m][v];
      }
      combined[v] = static_cast<float>(sum);
    }
  };
}

absl::StatusOr<std::vector<Completion>> Generate(
    const Model& model, std::span<const std::vector<int32_t>> prompts,
    int64_t samples, const SamplingOptions& options, const Rng& rng,
    std::span<const uint64_t> ids, const std::function<bool()>& stop) {
  const Model* const models[] = {&model};
  return GenerateCombined(models, nullptr, prompts, samples, options, rng, ids,
                          stop);
}

absl::StatusOr<std::vector<Completion>> GenerateCombined(
    std::span<const Model* const> models, const LogitRule& rule,
    std::span<const std::vector<int32_t>> prompts, int64_t samples,
    const SamplingOptions& options, const Rng& rng,
    std::span<const uint64_t> ids, const std::function<bool()>& stop) {
  ALIGN_RETURN_IF_ERROR(CheckModels(models));
  ALIGN_CHECK(rule || models.size() == 1)
      << "[GenerateCombined] several models and no rule";
  ALIGN_RETURN_IF_ERROR(
      CheckOptions(options, samples, models[0]->config().vocab_size));
  for (const Model* model : models) {
    ALIGN_RETURN_IF_ERROR(CheckCacheMode(model->config(), options.cache_mode));
    ALIGN_RETURN_IF_ERROR(
        CheckPrompts(model->config(), prompts, options.max_new_tokens));
  }
  const int64_t count = static_cast<int64_t>(prompts.size());
  if (!ids.empty() && static_cast<int64_t>(ids.size()) != count) {
    return InvalidArgument("generation: " + std::to_string(ids.size()) +
                           " ids for " + std::to_string(count) + " prompts");
  }
  std::vector<Completion> results(count * samples);
  Job job{.models = models,
          .rule = rule,
          .prompts = prompts,
          .samples = samples,
          .options = options,
          .rng = rng,
          .ids = ids,
          .stop = stop,
          .results = results,
          .next_prompt = 0,
          .cancelled = false,
          .stop_mutex = {}};
  const auto stage = ProfileScope::Stage("generate");
  if (WorthTeam(models)) {
    Decoder(job, std::min(options.max_rows, count * samples), /*team=*/true)
        .Run();
  } else {
    // Replies do not depend on their batch, so threads decode groups of their
    // own instead of sharing the small matrices of one step.
    const int64_t workers = std::max<int64_t>(
        1, std::min<int64_t>({Threads(), count, options.max_rows}));
    const int64_t rows = std::min(options.max_rows / workers,
                                  (count * samples + workers - 1) / workers);
    ProfileThreads threads;
    ParallelFor(workers, [&](int64_t) {
      threads.Run([&] { Decoder(job, rows, /*team=*/false).Run(); });
    });
  }
  if (job.cancelled) return Cancelled("generation was stopped");
  return results;
}

}  // namespace align::samplers
