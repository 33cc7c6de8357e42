#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/train/policy_objective.h"
#include "align/train/reference.h"
#include "align/train/rollout.h"
#include "align/train/weighted_reward.h"
#include "losses/advantages.h"
#include "losses/kl.h"

namespace align::train {

struct GroupRolloutOptions {
  int64_t prompts = 8;        // sampled in one rollout
  int64_t group_size = 8;     // completions of each
  int64_t rollouts = 0;       // 0: endless
  int64_t epochs = 1;         // passes over a rollout
  int64_t minibatches = 1;    // batches of an epoch; a prompt's stay together
  int64_t max_tokens = 4096;  // of one batch scored without gradients
  // Of the KL that is taken off the rewards of tokens (RLOO, REINFORCE++), at
  // the start; 0: none. Not the loss's own beta.
  double kl_coef = 0;
  double kl_target = 0;  // nats a completion; 0: kl_coef stays
  double kl_horizon = losses::AdaptiveKlOptions().horizon;  // completions
  losses::KlEstimator kl_estimator = losses::KlEstimator::kK1;
  // Completions that ran into their length limit keep their reward but are not
  // learned from (TRL's mask_truncated_completions; DAPO's overlong filtering).
  bool mask_truncated_completions = false;
  // Taken from the score of a completion that ran into its length limit.
  std::optional<double> missing_eos_penalty;
};

// An estimator of losses/advantage_registry.h with its options set.
struct NamedAdvantage {
  losses::AdvantageEstimator estimator;
  losses::AdvantageNeeds needs;
};

// The estimator `name` with the options `values`, names and texts, over its
// defaults. kInvalidArgument says what is unknown or out of range and what is
// allowed.
absl::StatusOr<NamedAdvantage> MakeAdvantage(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values = {});

// What a rollout is made with. `generate` gives group_size completions of each
// prompt, `greedy` the one that ReMax compares with; empty for others.
// `reference` must score at the temperature that `generate` samples and the
// objective trains at; empty where neither kl_coef nor the loss needs it.
struct GroupRolloutParts {
  ReplyGenerator generate;
  ReplyGenerator greedy;
  std::vector<WeightedReward> rewards;
  NamedAdvantage advantage;
  ReferenceLogProbs reference;
};

// Groups of completions and all that is known of them. The n completions stand
// group by group, their N tokens one after the other.
struct GroupRollout {
  std::vector<std::vector<int32_t>> prompts;      // one a group
  std::vector<std::string> ids;                   // one a group
  std::vector<std::vector<int32_t>> completions;  // [n]
  std::vector<bool> stopped;                      // [n] before the limit
  std::vector<double> log_probs;                  // [N]
  std::vector<double> reference_log_probs;        // [N] or empty
  losses::AdvantageInputs inputs;                 // rewards and offsets
  losses::AdvantageResult advantages;
  MetricSums metrics;
};

// A source of minibatches for PolicyObjective that samples as it goes: every
// rollout takes the next prompts of an endless shuffled series, samples a group
// of completions of each, scores them, compares them and is then cut into
// `minibatches` along a fresh permutation of its prompts in each of `epochs`.
// In a batch a prompt is one segment that its completions share. Rollout r
// depends on the models, the KL coefficient and rng.Fork(...).Fork(r) alone.
// For use by one thread.
//
// A completion that every reward function gives NaN could not be scored: it has
// an advantage of 0 and counts for no baseline. A prompt whose greedy reply
// cannot be scored has no baseline: its completions count as not scored.
//
// Every batch carries its rollout's metrics by TRL's names: reward, the mean of
// the weighted sums before any KL; reward_std, the mean over prompts of the
// deviation within their groups; frac_reward_zero_std, the share of prompts
// where that is 0; rewards/NAME/{mean,std} of each function;
// completions/{mean,min,max}_length, the same of those that ended as
// ..._terminated_length, completions/clipped_ratio, the share that did not; and
// with kl_coef objective/kl, the mean over completions of the sum over tokens,
// and kl_coef.
class GroupRollouts {
 public:
  // kInvalidArgument for options out of range, when there is no prompt or no
  // reward, or for an estimator that needs what the parts do not have.
  static absl::StatusOr<std::unique_ptr<GroupRollouts>> Create(
      PromptBatch prompts, GroupRolloutParts parts,
      const GroupRolloutOptions& options, const Rng& rng);

  // The next minibatch; samples when the last rollout is used up, with the
  // policy as it is then. Nullopt after `rollouts`. Errors are those of the
  // parts, and kInvalidArgument when a generator returns what is not a group of
  // completions a prompt with a log-prob a token.
  absl::StatusOr<std::optional<PolicyBatch>> Next();

  // Whether the next call of Next samples: only then does `state` say all.
  bool between_rollouts() const { return schedule_.between_rollouts(); }
  const RolloutState& state() const { return schedule_.state(); }
  double epoch() const { return schedule_.epoch(); }
  // Continues from `state`, dropping what is left of a rollout.
  void set_state(const RolloutState& state) { schedule_.set_state(state); }
  // The last one that was sampled.
  const GroupRollout& rollout() const { return rollout_; }

 private:
  GroupRollouts(PromptBatch prompts, GroupRolloutParts parts,
                const GroupRolloutOptions& options, const Rng& rng);

  // Fills rollout_; the tokens that were sampled.
  absl::StatusOr<int64_t> MakeRollout();
  absl::Status Sample();
  absl::Status TakeBaselines();
  absl::Status ScoreReference();
  absl::Status Compare();
  PolicyBatch MakeBatch(const std::vector<int64_t>& groups) const;

  PromptBatch prompts_;
  GroupRolloutParts parts_;
  GroupRolloutOptions options_;
  RolloutSchedule schedule_;
  GroupRollout rollout_;
};

}  // namespace align::train
