#pragma once

// What rollouts of every kind share: sampled replies, the series of prompts,
// minibatches, and where a run of rollouts stands.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/train/run_loop.h"
#include "samplers/generate.h"

namespace align::train {

// The same number of completions of each prompt, `result[p * samples + k]`, of
// at least one token each, drawn from `rng`; old log-probs are the completions'
// own.
using ReplyGenerator =
    std::function<absl::StatusOr<std::vector<samplers::Completion>>(
        std::span<const std::vector<int32_t>> prompts, const Rng& rng)>;

// samplers::Generate from `policy` as it is at each call, under `options`,
// whose temperature must be above 0 and whose cache exact: kInvalidArgument
// otherwise, and as Generate, which polls `stop`. `policy` must outlive the
// function.
ReplyGenerator SampleReplies(const Model& policy,
                             const samplers::SamplingOptions& options,
                             std::function<bool()> stop = nullptr,
                             int64_t samples = 1);
// The same without chance: the most likely reply to each prompt, whatever the
// temperature of `options`.
ReplyGenerator GreedyReplies(const Model& policy,
                             samplers::SamplingOptions options,
                             std::function<bool()> stop = nullptr);

// The same from the geometric mixture of `models`, which must outlive the
// function, with one weight each: samplers::GeometricMixture.
ReplyGenerator SampleMixture(std::vector<const Model*> models,
                             std::vector<double> weights,
                             const samplers::SamplingOptions& options,
                             std::function<bool()> stop = nullptr);
// Two replies to each prompt: the one of `first` and the one of `second`, which
// draw from streams of their own.
ReplyGenerator OneOfEach(ReplyGenerator first, ReplyGenerator second);

// Whether there are `count` completions with a log-prob a token, at least one
// token each: kInvalidArgument, starting with `where`, says what there is.
absl::Status CheckReplies(const std::string& where,
                          const std::vector<samplers::Completion>& completions,
                          size_t count);

// The prompts `indices` of `all`, with their ids: numbers where it has none.
PromptBatch TakePrompts(const PromptBatch& all,
                        const std::vector<int64_t>& indices);

// Each prompt `times` times in a row.
std::vector<std::vector<int32_t>> RepeatEach(
    const std::vector<std::vector<int32_t>>& prompts, int64_t times);

// How rollouts follow one another.
struct RolloutPlan {
  int64_t prompts = 1;      // sampled in one rollout
  int64_t rollouts = 0;     // 0: endless
  int64_t epochs = 1;       // passes over a rollout
  int64_t minibatches = 1;  // batches of an epoch, of `prompts` prompts
  double kl_coef = 0;       // at the start
  double kl_target = 0;     // nats a completion; 0: kl_coef stays
  double kl_horizon = 1;    // completions
};

// kInvalidArgument, starting with `where`, for a plan that is out of range or
// when there is no prompt.
absl::Status CheckPlan(const std::string& where, const RolloutPlan& plan,
                       int64_t prompts_there);

// Where a run of rollouts stands, between two of them.
struct RolloutState {
  int64_t rollout = 0;  // the next one's number
  double kl_coef = 0;
  // Of completions that were sampled, and the rows of all batches given out:
  // distinct tokens, prompts included, that one update puts through the model,
  // as num_tokens counts for every method.
  int64_t tokens_sampled = 0;
  int64_t tokens_trained = 0;
};

// Which prompts each rollout takes and how it is cut into batches. All follows
// from the plan, the stream and the state's rollout number. For one thread.
class RolloutSchedule {
 public:
  // `plan` as CheckPlan wants it.
  RolloutSchedule(const RolloutPlan& plan, int64_t prompts_there,
                  const Rng& rng);

  // Whether the next batch is of a rollout still to be sampled.
  bool between_rollouts() const { return pending_.empty(); }
  // Between rollouts: whether there is another.
  bool done() const;
  // Of the next rollout: the indices of its prompts, which are the next ones of
  // an endless series, one permutation of all of them after another, and what
  // it draws from.
  std::vector<int64_t> Prompts() const;
  Rng SamplingStream() const;
  // That rollout was sampled, `tokens` in all: cuts its prompts, 0 to
  // plan.prompts - 1, into minibatches along a fresh permutation an epoch.
  void Begin(int64_t tokens);
  // The members of the next batch of the current rollout.
  std::vector<int64_t> NextBatch();
  // A batch of so many rows was given out.
  void CountTrained(int64_t rows) { state_.tokens_trained += rows; }
  // Moves kl_coef towards its target, if there is one: the mean KL of the
  // rollout's completions was `kl` nats.
  void UpdateKl(double kl, double completions);

  const RolloutState& state() const { return state_; }
  // Passes over the prompts so far.
  double epoch() const {
    return static_cast<double>(state_.rollout * plan_.prompts) /
           static_cast<double>(prompts_there_);
  }
  // Continues from `state`, dropping what is left of a rollout.
  void set_state(const RolloutState& state);

 private:
  RolloutPlan plan_;
  int64_t prompts_there_;
  Rng rng_;
  RolloutState state_;
  // Members of each batch still to be given out, the next batch last.
  std::vector<std::vector<int64_t>> pending_;
};

// The next batch of a series of rollouts, nullopt after the last: `sample`
// makes a rollout, between two of them, and returns the tokens sampled; `make`
// a batch, which has `packed`, of the members that it is given. Both may fail.
template <class Batch, class Sample, class Make>
absl::StatusOr<std::optional<Batch>> NextBatchOf(RolloutSchedule& schedule,
                                                 const Sample& sample,
                                                 const Make& make) {
  if (schedule.between_rollouts()) {
    if (schedule.done()) return std::optional<Batch>();
    ALIGN_ASSIGN_OR_RETURN(const int64_t tokens, sample());
    schedule.Begin(tokens);
  }
  absl::StatusOr<Batch> batch = make(schedule.NextBatch());
  if (!batch.ok()) return batch.status();
  schedule.CountTrained(batch->packed.rows());
  return std::optional<Batch>(*std::move(batch));
}

// Whether a step on fresh samples, taken before any update, has ratios of
// exactly 1 and an approxkl of 0 (within 1e-4 where matmul rows are not exact:
// align/dnnl/matmul.h): kFailedPrecondition otherwise. It catches samples that
// another model, temperature or kernel made than the one that scores them.
// Huang et al. 2024 (arXiv 2403.17031), detail 27.
absl::Status CheckInitialRatios(const StepReport& report);

}  // namespace align::train
