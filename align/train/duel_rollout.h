#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/train/policy_objective.h"
#include "align/train/reference.h"
#include "align/train/rollout.h"
#include "align/train/weighted_reward.h"

namespace align::train {

// How likely one reply is to be preferred to another, from their scores.
enum class PreferenceRule {
  kBradleyTerry,  // sigmoid(score - other score): TRL with a reward model
  kHard,          // 1, 0, or 1/2 for equal scores: a judge
};

struct DuelRolloutOptions {
  int64_t prompts = 8;      // sampled in one rollout
  int64_t group_size = 2;   // replies to each, at least two
  int64_t rollouts = 0;     // 0: endless
  int64_t epochs = 1;       // passes over a rollout
  int64_t minibatches = 1;  // batches of an epoch
  // Taken from the score of a reply that ran into its length limit.
  std::optional<double> missing_eos_penalty;
  // Equal scores make no pair; otherwise, as in TRL, the earlier sample is the
  // chosen one. Of pairs alone.
  bool skip_ties = false;
  PreferenceRule preference = PreferenceRule::kBradleyTerry;
};

// What a rollout is made with. `generate` gives group_size replies to each
// prompt: samples of the policy, or by OneOfEach one of it and one of an
// opponent. `reference` must score at the temperature that the policy samples
// and learns at; empty where nothing needs it, and not of pairs.
struct DuelRolloutParts {
  ReplyGenerator generate;
  std::vector<WeightedReward> rewards;
  ReferenceLogProbs reference;
};

// Which two replies to a prompt meet: indices into a rollout's replies. Of two
// equal scores the first counts as the better.
struct Duel {
  int64_t first = 0, second = 0;  // in the order they were sampled
  bool first_wins = true;
};

// Sampled and scored replies, group by group.
struct DuelRollout {
  PromptBatch prompts = {};
  std::vector<samplers::Completion> replies = {};  // [prompts * group_size]
  // [prompts * group_size] weighted sums after the penalty; NaN: not scored.
  std::vector<double> scores = {};
  std::vector<std::optional<Duel>> duels = {};  // one a prompt
};

// Pairs with what metrics say of them, one entry a reply, in their order.
struct SampledPairs : PreferenceBatch {
  std::vector<double> scores;
  std::vector<uint8_t> stopped;  // before the length limit
  double prompts_left_out = 0;   // of this batch's: without a pair
};

// A source of minibatches that samples as it goes and lets two replies to each
// prompt meet: the best and the worst of the group by their scores, which of
// two are those two. Every rollout takes the next prompts of an endless
// shuffled series and is cut into `minibatches` along a fresh permutation of
// them in each of `epochs`. Rollout r depends on the models and
// rng.Fork(...).Fork(r) alone. For use by one thread.
//
// A reply that every reward function gives NaN is not scored and meets none. A
// prompt with fewer than two scored replies teaches nothing; nor does one whose
// best equals its worst if ties are skipped. A batch may be empty.
class DuelRollouts {
 public:
  // kInvalidArgument for options out of range, or when there is no prompt or no
  // reward.
  static absl::StatusOr<std::unique_ptr<DuelRollouts>> Create(
      PromptBatch prompts, DuelRolloutParts parts,
      const DuelRolloutOptions& options, const Rng& rng);

  // The next minibatch, of pairs (online DPO, XPO): the better reply is chosen.
  // Margins are differences of scores, and where groups are of two
  // `policy_won` says whether the first was chosen. Samples when the last
  // rollout is used up, with the policy as it is then; nullopt after
  // `rollouts`. Errors are those of the parts, and kInvalidArgument when a
  // generator gives another number of replies, or without log-probs.
  absl::StatusOr<std::optional<SampledPairs>> NextPairs();

  // The same of the first replies alone (Nash-MD), whose advantage is the
  // chance that they are preferred to the second ones, less one half. Munos et
  // al. 2023 (arXiv 2312.00886), eq. 8. Metrics by TRL's names:
  // rewards/{chosen,rejected}, the scores of first and second,
  // rewards/probabilities, val/{model,ref}_contain_eos_token.
  absl::StatusOr<std::optional<PolicyBatch>> NextFirsts();

  // Whether the next call samples: only then does `state` say all.
  bool between_rollouts() const { return schedule_.between_rollouts(); }
  const RolloutState& state() const { return schedule_.state(); }
  double epoch() const { return schedule_.epoch(); }
  // Continues from `state`, dropping what is left of a rollout.
  void set_state(const RolloutState& state) { schedule_.set_state(state); }
  // The last one that was sampled.
  const DuelRollout& rollout() const { return rollout_; }

 private:
  DuelRollouts(PromptBatch prompts, DuelRolloutParts parts,
               const DuelRolloutOptions& options, const Rng& rng);

  // Fills rollout_; the tokens that were sampled.
  absl::StatusOr<int64_t> MakeRollout();
  absl::Status Score();
  SampledPairs MakePairs(const std::vector<int64_t>& prompts) const;
  absl::StatusOr<PolicyBatch> MakeFirsts(
      const std::vector<int64_t>& prompts) const;

  PromptBatch prompts_;
  DuelRolloutParts parts_;
  DuelRolloutOptions options_;
  RolloutSchedule schedule_;
  DuelRollout rollout_;
};

}  // namespace align::train
