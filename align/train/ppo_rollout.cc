#include "align/train/ppo_rollout.h"

#include <numeric>
#include <utility>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/tensor/tape.h"

namespace align::train {
namespace {

constexpr char kWhere[] = "PPO rollout";

RolloutPlan PlanOf(const PpoRolloutOptions& options) {
  return {.prompts = options.prompts,
          .rollouts = options.rollouts,
          .epochs = options.epochs,
          .minibatches = options.minibatches,
          .kl_coef = options.kl_coef,
          .kl_target = options.kl_target,
          .kl_horizon = options.kl_horizon};
}

// Moves the completions into `rollout`; returns how many a stop id ended.
int64_t TakeCompletions(std::vector<samplers::Completion> completions,
                        PpoRollout& rollout) {
  PpoScores& scores = rollout.scores;
  scores.offsets = {0};
  int64_t stopped = 0;
  for (samplers::Completion& c : completions) {
    stopped += c.stopped ? 1 : 0;
    scores.log_probs.insert(scores.log_probs.end(), c.log_probs.begin(),
                            c.log_probs.end());
    scores.offsets.push_back(static_cast<int64_t>(scores.log_probs.size()));
    rollout.completions.push_back(std::move(c.tokens));
  }
  return stopped;
}

// The completions `members` on their prompts, in that order.
PackedBatch Pack(const PpoRollout& rollout, std::span<const int64_t> members) {
  PackedBatch packed;
  for (int64_t i : members) {
    packed.AppendCompletion(packed.AppendPrompt(rollout.prompts[i]),
                            rollout.completions[i]);
  }
  return packed;
}

// Reference log-probs and values of one batch, appended to `scores`.
absl::Status AppendTokenScores(const PackedBatch& packed,
                               const PpoRolloutParts& parts,
                               PpoScores& scores) {
  ALIGN_RETURN_IF_ERROR(
      parts.critic->CheckTokens(packed.tokens, packed.segments));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<float> reference,
                         parts.reference(packed));
  if (reference.size() != packed.scored.size()) {
    return InvalidArgument(
        "PPO rollout: the reference gave " + std::to_string(reference.size()) +
        " log-probs; expected " + std::to_string(packed.scored.size()));
  }
  scores.reference_log_probs.insert(scores.reference_log_probs.end(),
                                    reference.begin(), reference.end());
  const auto stage = ProfileScope::Stage("critic");
  const NoGrad no_grad;
  const Tensor values =
      parts.value_head != nullptr
          ? TokenValues(*parts.critic, *parts.value_head, packed)
          : TokenValues(*parts.critic, packed);
  scores.values.insert(scores.values.end(), values.data(),
                       values.data() + packed.scored.size());
  return absl::OkStatus();
}

// Scores all tokens, up to `max_tokens` at a time: how completions share a
// batch changes no number.
absl::Status ScoreTokens(const PpoRolloutParts& parts, int64_t max_tokens,
                         PpoRollout& rollout) {
  std::vector<int64_t> members;
  int64_t tokens = 0;
  const auto count = static_cast<int64_t>(rollout.prompts.size());
  for (int64_t i = 0; i < count; ++i) {
    const auto size = static_cast<int64_t>(rollout.prompts[i].size() +
                                           rollout.completions[i].size());
    if (!members.empty() && tokens + size > max_tokens) {
      ALIGN_RETURN_IF_ERROR(
          AppendTokenScores(Pack(rollout, members), parts, rollout.scores));
      members.clear();
      tokens = 0;
    }
    members.push_back(i);
    tokens += size;
  }
  return AppendTokenScores(Pack(rollout, members), parts, rollout.scores);
}

double Sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// Means over the completions. A batch carries them whole, so that merging the
// batches of a step keeps them as they are.
MetricSums Metrics(const PpoRollout& rollout, const RolloutState& state,
                   int64_t stopped) {
  const double kl_coef = state.kl_coef;
  const auto n = static_cast<double>(rollout.completions.size());
  const double kl = Sum(rollout.targets.kl);
  const double scores = Sum(rollout.scores.scores);
  return {{"objective/kl", {kl, n}},
          {"objective/entropy", {-Sum(rollout.scores.log_probs), n}},
          {"objective/non_score_reward", {-kl_coef * kl, n}},
          {"objective/rlhf_reward", {scores - kl_coef * kl, n}},
          {"objective/scores", {scores, n}},
          {"val/num_eos_tokens", {static_cast<double>(stopped), 1}},
          {"kl_coef", {kl_coef, 1}},
          {"episode", {n * static_cast<double>(state.rollout + 1), 1}}};
}

PpoBatch MakeBatch(const PpoRollout& rollout,
                   std::span<const int64_t> members) {
  PpoBatch batch;
  batch.packed = Pack(rollout, members);
  batch.rollout_metrics = rollout.metrics;
  for (int64_t i : members) {
    batch.ids.push_back(rollout.ids[i]);
    const auto append = [&](const std::vector<double>& from,
                            std::vector<double>& to) {
      to.insert(to.end(), from.begin() + rollout.scores.offsets[i],
                from.begin() + rollout.scores.offsets[i + 1]);
    };
    append(rollout.scores.log_probs, batch.old_log_probs);
    append(rollout.scores.values, batch.old_values);
    append(rollout.targets.advantages, batch.advantages);
    append(rollout.targets.returns, batch.returns);
  }
  return batch;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PpoRollouts>> PpoRollouts::Create(
    PromptBatch prompts, PpoRolloutParts parts,
    const PpoRolloutOptions& options, const Rng& rng) {
  ALIGN_CHECK(parts.generate && parts.reward && parts.reference && parts.critic)
      << "[PpoRollouts] a part is missing";
  ALIGN_RETURN_IF_ERROR(CheckPlan(
      kWhere, PlanOf(options), static_cast<int64_t>(prompts.prompts.size())));
  return std::unique_ptr<PpoRollouts>(
      new PpoRollouts(std::move(prompts), std::move(parts), options, rng));
}

PpoRollouts::PpoRollouts(PromptBatch prompts, PpoRolloutParts parts,
                         const PpoRolloutOptions& options, const Rng& rng)
    : prompts_(std::move(prompts)),
      parts_(std::move(parts)),
      options_(options),
      schedule_(PlanOf(options), static_cast<int64_t>(prompts_.prompts.size()),
                rng) {}

absl::StatusOr<std::optional<PpoBatch>> PpoRollouts::Next() {
  return NextBatchOf<PpoBatch>(
      schedule_, [this] { return Sample(); },
      [this](const std::vector<int64_t>& members) {
        return MakeBatch(rollout_, members);
      });
}

absl::StatusOr<int64_t> PpoRollouts::Sample() {
  rollout_ = PpoRollout();
  PromptBatch taken = TakePrompts(prompts_, schedule_.Prompts());
  rollout_.prompts = std::move(taken.prompts);
  rollout_.ids = std::move(taken.ids);
  ALIGN_ASSIGN_OR_RETURN(
      std::vector<samplers::Completion> completions,
      parts_.generate(rollout_.prompts, schedule_.SamplingStream()));
  ALIGN_RETURN_IF_ERROR(
      CheckReplies(kWhere, completions, rollout_.prompts.size()));
  std::vector<double> penalties;
  for (const samplers::Completion& completion : completions) {
    penalties.push_back(
        completion.stopped ? 0 : options_.missing_eos_penalty.value_or(0));
  }
  const int64_t stopped = TakeCompletions(std::move(completions), rollout_);
  PpoScores& scores = rollout_.scores;
  {
    const auto stage = ProfileScope::Stage("reward");
    ALIGN_ASSIGN_OR_RETURN(
        scores.scores, parts_.reward(rollout_.prompts, rollout_.completions));
  }
  ALIGN_RETURN_IF_ERROR(CheckRewards(scores.scores, penalties.size()));
  for (size_t i = 0; i < penalties.size(); ++i) {
    scores.scores[i] -= penalties[i];
  }
  ALIGN_RETURN_IF_ERROR(ScoreTokens(parts_, options_.max_tokens, rollout_));
  rollout_.targets =
      MakePpoTargets(scores, schedule_.state().kl_coef, options_.targets);
  rollout_.metrics = Metrics(rollout_, schedule_.state(), stopped);
  const auto n = static_cast<double>(rollout_.completions.size());
  schedule_.UpdateKl(Sum(rollout_.targets.kl) / n, n);
  return scores.offsets.back();
}

}  // namespace align::train
