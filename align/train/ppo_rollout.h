#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/models/value_head.h"
#include "align/train/ppo_objective.h"
#include "align/train/ppo_targets.h"
#include "align/train/reference.h"
#include "align/train/reward_function.h"
#include "align/train/run_loop.h"
#include "losses/kl.h"
#include "samplers/generate.h"

namespace align::train {

// One completion of each prompt, of at least one token, drawn from `rng`; old
// log-probs are the completions' own.
using ReplyGenerator =
    std::function<absl::StatusOr<std::vector<samplers::Completion>>(
        std::span<const std::vector<int32_t>> prompts, const Rng& rng)>;

// samplers::Generate from `policy` as it is at each call, under `options`,
// whose temperature must be above 0: kInvalidArgument otherwise, and as
// Generate, which polls `stop`. `policy` must outlive the function.
ReplyGenerator SampleReplies(const Model& policy,
                             const samplers::SamplingOptions& options,
                             std::function<bool()> stop = nullptr);

struct PpoRolloutOptions {
  int64_t prompts = 64;       // sampled in one rollout
  int64_t rollouts = 0;       // 0: endless
  int64_t epochs = 4;         // passes over a rollout
  int64_t minibatches = 1;    // batches of an epoch
  int64_t max_tokens = 4096;  // of one batch scored without gradients
  double kl_coef = 0.05;      // at the start
  double kl_target = 0;       // nats a completion; 0: kl_coef stays
  double kl_horizon = losses::AdaptiveKlOptions().horizon;  // completions
  PpoTargetOptions targets;
  // Taken from the score of a completion that ran into its length limit.
  std::optional<double> missing_eos_penalty;
};

// What a rollout is made with. `reference` must score at the temperature that
// `generate` samples and PpoObjective trains at. `critic`, best a clone of the
// reward model, gives the values; with `value_head` it is the policy, whose
// trunk that head reads. Both must outlive the rollouts.
struct PpoRolloutParts {
  ReplyGenerator generate;
  RewardFunction reward;
  ReferenceLogProbs reference;
  const Model* critic = nullptr;
  const ValueHead* value_head = nullptr;
};

// Sampled completions and all that is known of their tokens.
struct PpoRollout {
  std::vector<std::vector<int32_t>> prompts;      // [n]
  std::vector<std::vector<int32_t>> completions;  // [n]
  std::vector<std::string> ids;                   // [n] of the prompts
  PpoScores scores;
  PpoTargets targets;
  MetricSums metrics;
};

// Where a run of rollouts stands, between two of them.
struct PpoRolloutState {
  int64_t rollout = 0;  // the next one's number
  double kl_coef = 0;
  int64_t tokens_sampled = 0;
  int64_t tokens_trained = 0;
};

// A source of minibatches for PpoObjective that samples as it goes: every
// rollout takes the next prompts of an endless shuffled series, samples,
// scores, and is then cut into `minibatches` along a fresh permutation in each
// of `epochs`. Rollout r depends on the models, the KL coefficient and
// rng.Fork(...).Fork(r) alone. For use by one thread.
//
// Every batch carries its rollout's metrics by TRL's names:
// objective/{kl,entropy,non_score_reward,rlhf_reward,scores}, means over
// completions of sums over tokens (the entropy is that of the sampled tokens,
// -sum log p; scores are after the penalty), val/num_eos_tokens, kl_coef, and
// episode, the completions sampled so far.
class PpoRollouts {
 public:
  // kInvalidArgument for options out of range or when there is no prompt.
  static absl::StatusOr<std::unique_ptr<PpoRollouts>> Create(
      PromptBatch prompts, PpoRolloutParts parts,
      const PpoRolloutOptions& options, const Rng& rng);

  // The next minibatch; samples when the last rollout is used up, with the
  // policy as it is then. Nullopt after `rollouts`. Errors are those of the
  // parts, and kInvalidArgument when a generator returns what is not one
  // completion a prompt with a log-prob a token.
  absl::StatusOr<std::optional<PpoBatch>> Next();

  // Whether the next call of Next samples: only then does `state` say all.
  bool between_rollouts() const { return pending_.empty(); }
  // The counters: tokens of completions that were sampled, and the rows of all
  // batches given out: distinct tokens, prompts included, that one update puts
  // through the model, as num_tokens counts for every method.
  const PpoRolloutState& state() const { return state_; }
  // Continues from `state`, dropping what is left of a rollout.
  void set_state(const PpoRolloutState& state);

 private:
  PpoRollouts(PromptBatch prompts, PpoRolloutParts parts,
              const PpoRolloutOptions& options, const Rng& rng);

  absl::Status Sample();
  void TakePrompts();
  void CutMinibatches();

  PromptBatch prompts_;
  PpoRolloutParts parts_;
  PpoRolloutOptions options_;
  Rng rng_;
  PpoRolloutState state_;
  PpoRollout rollout_;
  // Completions of each batch still to be given out, the next batch last.
  std::vector<std::vector<int64_t>> pending_;
};

}  // namespace align::train
