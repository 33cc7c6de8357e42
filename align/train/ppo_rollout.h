#pragma once

#include <cstdint>
#include <memory>
#include <optional>
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
#include "align/train/rollout.h"
#include "align/train/run_loop.h"
#include "losses/kl.h"

namespace align::train {

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

// What a rollout is made with: `generate` gives one completion of each prompt.
// `reference` must score at the temperature that
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
  bool between_rollouts() const { return schedule_.between_rollouts(); }
  const RolloutState& state() const { return schedule_.state(); }
  double epoch() const { return schedule_.epoch(); }
  // Continues from `state`, dropping what is left of a rollout.
  void set_state(const RolloutState& state) { schedule_.set_state(state); }

 private:
  PpoRollouts(PromptBatch prompts, PpoRolloutParts parts,
              const PpoRolloutOptions& options, const Rng& rng);

  // Fills rollout_; the tokens that were sampled.
  absl::StatusOr<int64_t> Sample();

  PromptBatch prompts_;
  PpoRolloutParts parts_;
  PpoRolloutOptions options_;
  RolloutSchedule schedule_;
  PpoRollout rollout_;
};

}  // namespace align::train
