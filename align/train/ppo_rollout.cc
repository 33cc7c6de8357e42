#include "align/train/ppo_rollout.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "align/base/check.h"
#include "align/tensor/tape.h"

namespace align::train {
namespace {

absl::Status CheckOptions(const PpoRolloutOptions& o, int64_t prompts) {
  const auto bad = [](const std::string& what) {
    return InvalidArgument("PPO rollout: " + what);
  };
  if (prompts == 0) return bad("no prompts; expected at least one");
  if (o.prompts < 1)
    return bad("prompts " + std::to_string(o.prompts) + " < 1");
  if (o.epochs < 1) return bad("epochs " + std::to_string(o.epochs) + " < 1");
  if (o.minibatches < 1 || o.minibatches > o.prompts) {
    return bad("minibatches " + std::to_string(o.minibatches) +
               "; expected 1 to " + std::to_string(o.prompts) +
               ", the completions of a rollout");
  }
  if (!std::isfinite(o.kl_coef) || o.kl_coef < 0) {
    return bad("kl_coef " + std::to_string(o.kl_coef) +
               " is not a number >= 0");
  }
  if (!std::isfinite(o.kl_target) || o.kl_target < 0) {
    return bad("kl_target " + std::to_string(o.kl_target) +
               " is not a number >= 0");
  }
  if (!(o.kl_horizon > 0)) {
    return bad("kl_horizon " + std::to_string(o.kl_horizon) +
               " is not a number > 0");
  }
  return absl::OkStatus();
}

absl::Status CheckCompletions(
    const std::vector<samplers::Completion>& completions, size_t prompts) {
  if (completions.size() != prompts) {
    return InvalidArgument("PPO rollout: the generator gave " +
                           std::to_string(completions.size()) +
                           " completions; expected one for " + "each of " +
                           std::to_string(prompts) + " prompts");
  }
  for (size_t i = 0; i < prompts; ++i) {
    const samplers::Completion& c = completions[i];
    if (c.tokens.empty() || c.tokens.size() != c.log_probs.size()) {
      return InvalidArgument("PPO rollout: completion " + std::to_string(i) +
                             " has " + std::to_string(c.tokens.size()) +
                             " tokens and " +
                             std::to_string(c.log_probs.size()) +
                             " log-probs; expected one each, at least one");
    }
  }
  return absl::OkStatus();
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
MetricSums Metrics(const PpoRollout& rollout, const PpoRolloutState& state,
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

double NextKlCoefficient(const PpoRolloutOptions& options, double kl_coef,
                         const PpoRollout& rollout) {
  if (options.kl_target == 0) return kl_coef;
  losses::AdaptiveKlController controller({.initial = kl_coef,
                                           .target = options.kl_target,
                                           .horizon = options.kl_horizon});
  const auto n = static_cast<double>(rollout.completions.size());
  controller.Update(Sum(rollout.targets.kl) / n, n);
  return controller.coefficient();
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

ReplyGenerator SampleReplies(const Model& policy,
                             const samplers::SamplingOptions& options,
                             std::function<bool()> stop) {
  return
      [&policy, options, stop = std::move(stop)](
          std::span<const std::vector<int32_t>> prompts,
          const Rng& rng) -> absl::StatusOr<std::vector<samplers::Completion>> {
        if (!(options.temperature > 0)) {
          return InvalidArgument("PPO rollout: temperature " +
                                 std::to_string(options.temperature) +
                                 "; expected more than 0, as ratios need it");
        }
        return samplers::Generate(policy, prompts, 1, options, rng, {}, stop);
      };
}

absl::StatusOr<std::unique_ptr<PpoRollouts>> PpoRollouts::Create(
    PromptBatch prompts, PpoRolloutParts parts,
    const PpoRolloutOptions& options, const Rng& rng) {
  ALIGN_CHECK(parts.generate && parts.reward && parts.reference && parts.critic)
      << "[PpoRollouts] a part is missing";
  ALIGN_RETURN_IF_ERROR(
      CheckOptions(options, static_cast<int64_t>(prompts.prompts.size())));
  return std::unique_ptr<PpoRollouts>(
      new PpoRollouts(std::move(prompts), std::move(parts), options, rng));
}

PpoRollouts::PpoRollouts(PromptBatch prompts, PpoRolloutParts parts,
                         const PpoRolloutOptions& options, const Rng& rng)
    : prompts_(std::move(prompts)),
      parts_(std::move(parts)),
      options_(options),
      rng_(rng) {
  state_.kl_coef = options.kl_coef;
}

void PpoRollouts::set_state(const PpoRolloutState& state) {
  state_ = state;
  rollout_ = PpoRollout();
  pending_.clear();
}

absl::StatusOr<std::optional<PpoBatch>> PpoRollouts::Next() {
  if (pending_.empty()) {
    if (options_.rollouts > 0 && state_.rollout >= options_.rollouts) {
      return std::optional<PpoBatch>();
    }
    ALIGN_RETURN_IF_ERROR(Sample());
    CutMinibatches();
    ++state_.rollout;
  }
  PpoBatch batch = MakeBatch(rollout_, pending_.back());
  pending_.pop_back();
  state_.tokens_trained += batch.packed.rows();
  return std::optional<PpoBatch>(std::move(batch));
}

absl::Status PpoRollouts::Sample() {
  rollout_ = PpoRollout();
  TakePrompts();
  const auto number = static_cast<uint64_t>(state_.rollout);
  ALIGN_ASSIGN_OR_RETURN(
      std::vector<samplers::Completion> completions,
      parts_.generate(rollout_.prompts, rng_.Fork("sample").Fork(number)));
  ALIGN_RETURN_IF_ERROR(CheckCompletions(completions, rollout_.prompts.size()));
  std::vector<double> penalties;
  for (const samplers::Completion& completion : completions) {
    penalties.push_back(
        completion.stopped ? 0 : options_.missing_eos_penalty.value_or(0));
  }
  const int64_t stopped = TakeCompletions(std::move(completions), rollout_);
  PpoScores& scores = rollout_.scores;
  ALIGN_ASSIGN_OR_RETURN(scores.scores,
                         parts_.reward(rollout_.prompts, rollout_.completions));
  ALIGN_RETURN_IF_ERROR(CheckRewards(scores.scores, penalties.size()));
  for (size_t i = 0; i < penalties.size(); ++i) {
    scores.scores[i] -= penalties[i];
  }
  ALIGN_RETURN_IF_ERROR(ScoreTokens(parts_, options_.max_tokens, rollout_));
  rollout_.targets = MakePpoTargets(scores, state_.kl_coef, options_.targets);
  rollout_.metrics = Metrics(rollout_, state_, stopped);
  state_.kl_coef = NextKlCoefficient(options_, state_.kl_coef, rollout_);
  state_.tokens_sampled += scores.offsets.back();
  return absl::OkStatus();
}

// The series of prompts is one permutation of all of them after another.
void PpoRollouts::TakePrompts() {
  const auto count = static_cast<int64_t>(prompts_.prompts.size());
  int64_t pass = -1;
  std::vector<int64_t> order;
  for (int64_t k = 0; k < options_.prompts; ++k) {
    const int64_t position = state_.rollout * options_.prompts + k;
    if (position / count != pass) {
      pass = position / count;
      order = rng_.Fork("prompts")
                  .Fork(static_cast<uint64_t>(pass))
                  .Permutation(count);
    }
    const int64_t prompt = order[position % count];
    rollout_.prompts.push_back(prompts_.prompts[prompt]);
    rollout_.ids.push_back(prompts_.ids.empty() ? std::to_string(prompt)
                                                : prompts_.ids[prompt]);
  }
}

void PpoRollouts::CutMinibatches() {
  const Rng rng =
      rng_.Fork("minibatches").Fork(static_cast<uint64_t>(state_.rollout));
  for (int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
    const std::vector<int64_t> order =
        rng.Fork(static_cast<uint64_t>(epoch)).Permutation(options_.prompts);
    for (int64_t m = 0; m < options_.minibatches; ++m) {
      pending_.emplace_back(
          order.begin() + m * options_.prompts / options_.minibatches,
          order.begin() + (m + 1) * options_.prompts / options_.minibatches);
    }
  }
  std::reverse(pending_.begin(), pending_.end());
}

}  // namespace align::train
