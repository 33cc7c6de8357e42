#include "align/train/duel_rollout.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "align/base/check.h"
#include "align/train/sequence_sums.h"
#include "losses/numerics.h"
#include "losses/sequence_rewards.h"

namespace align::train {
namespace {

constexpr char kWhere[] = "duel rollout";

RolloutPlan PlanOf(const DuelRolloutOptions& options) {
  return {.prompts = options.prompts,
          .rollouts = options.rollouts,
          .epochs = options.epochs,
          .minibatches = options.minibatches};
}

// The best and the worst of a group that starts at `begin`; the first of equal
// bests, the last of equal worsts.
std::optional<Duel> BestAgainstWorst(std::span<const double> scores,
                                     int64_t begin) {
  int64_t best = -1, worst = -1;
  for (int64_t i = 0; i < static_cast<int64_t>(scores.size()); ++i) {
    if (std::isnan(scores[i])) continue;
    if (best < 0 || scores[i] > scores[best]) best = i;
    if (worst < 0 || scores[i] <= scores[worst]) worst = i;
  }
  if (best == worst) return std::nullopt;  // one scored reply, or none
  return Duel{.first = begin + std::min(best, worst),
              .second = begin + std::max(best, worst),
              .first_wins = best < worst};
}

double ChanceToWin(PreferenceRule rule, double score, double other) {
  if (rule == PreferenceRule::kBradleyTerry) {
    return losses::Sigmoid(score - other);
  }
  return score == other ? 0.5 : score > other ? 1.0 : 0.0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DuelRollouts>> DuelRollouts::Create(
    PromptBatch prompts, DuelRolloutParts parts,
    const DuelRolloutOptions& options, const Rng& rng) {
  ALIGN_CHECK(parts.generate) << "[DuelRollouts] no generator";
  ALIGN_RETURN_IF_ERROR(CheckPlan(
      kWhere, PlanOf(options), static_cast<int64_t>(prompts.prompts.size())));
  ALIGN_RETURN_IF_ERROR(CheckWeights(kWhere, parts.rewards));
  if (options.group_size < 2) {
    return InvalidArgument(std::string(kWhere) + ": group_size " +
                           std::to_string(options.group_size) +
                           "; expected at least 2 replies to compare");
  }
  return std::unique_ptr<DuelRollouts>(
      new DuelRollouts(std::move(prompts), std::move(parts), options, rng));
}

DuelRollouts::DuelRollouts(PromptBatch prompts, DuelRolloutParts parts,
                           const DuelRolloutOptions& options, const Rng& rng)
    : prompts_(std::move(prompts)),
      parts_(std::move(parts)),
      options_(options),
      schedule_(PlanOf(options), static_cast<int64_t>(prompts_.prompts.size()),
                rng) {}

absl::StatusOr<std::optional<SampledPairs>> DuelRollouts::NextPairs() {
  return NextBatchOf<SampledPairs>(
      schedule_, [this] { return MakeRollout(); },
      [this](const std::vector<int64_t>& members) {
        return MakePairs(members);
      });
}

absl::StatusOr<std::optional<PolicyBatch>> DuelRollouts::NextFirsts() {
  return NextBatchOf<PolicyBatch>(
      schedule_, [this] { return MakeRollout(); },
      [this](const std::vector<int64_t>& members) {
        return MakeFirsts(members);
      });
}

absl::StatusOr<int64_t> DuelRollouts::MakeRollout() {
  rollout_ = DuelRollout{.prompts = TakePrompts(prompts_, schedule_.Prompts())};
  ALIGN_ASSIGN_OR_RETURN(
      rollout_.replies,
      parts_.generate(rollout_.prompts.prompts, schedule_.SamplingStream()));
  ALIGN_RETURN_IF_ERROR(
      CheckReplies(kWhere, rollout_.replies,
                   rollout_.prompts.prompts.size() * options_.group_size));
  ALIGN_RETURN_IF_ERROR(Score());
  int64_t tokens = 0;
  for (const samplers::Completion& reply : rollout_.replies) {
    tokens += static_cast<int64_t>(reply.tokens.size());
  }
  for (int64_t p = 0; p < options_.prompts; ++p) {
    const int64_t begin = p * options_.group_size;
    rollout_.duels.push_back(BestAgainstWorst(
        std::span(rollout_.scores).subspan(begin, options_.group_size), begin));
  }
  return tokens;
}

absl::Status DuelRollouts::Score() {
  std::vector<std::vector<int32_t>> replies;
  std::vector<bool> stopped;
  for (const samplers::Completion& reply : rollout_.replies) {
    replies.push_back(reply.tokens);
    stopped.push_back(reply.stopped);
  }
  losses::AdvantageInputs in;
  ALIGN_RETURN_IF_ERROR(ScoreReplies(
      parts_.rewards, RepeatEach(rollout_.prompts.prompts, options_.group_size),
      replies, stopped, options_.missing_eos_penalty, in));
  const Eigen::ArrayXd sums = losses::SumRewards(in);
  rollout_.scores.assign(sums.begin(), sums.end());
  return absl::OkStatus();
}

SampledPairs DuelRollouts::MakePairs(
    const std::vector<int64_t>& prompts) const {
  SampledPairs batch;
  for (int64_t p : prompts) {
    const std::optional<Duel>& duel = rollout_.duels[p];
    if (!duel || (options_.skip_ties && rollout_.scores[duel->first] ==
                                            rollout_.scores[duel->second])) {
      ++batch.prompts_left_out;
      continue;
    }
    const int64_t chosen = duel->first_wins ? duel->first : duel->second;
    const int64_t rejected = duel->first_wins ? duel->second : duel->first;
    const int32_t prefix =
        batch.packed.AppendPrompt(rollout_.prompts.prompts[p]);
    for (int64_t i : {chosen, rejected}) {
      batch.packed.AppendCompletion(prefix, rollout_.replies[i].tokens);
      batch.scores.push_back(rollout_.scores[i]);
      batch.stopped.push_back(rollout_.replies[i].stopped ? 1 : 0);
    }
    batch.ids.push_back(rollout_.prompts.ids[p]);
    batch.margins.push_back(rollout_.scores[chosen] -
                            rollout_.scores[rejected]);
    if (options_.group_size > 2) continue;
    batch.policy_won.push_back(duel->first_wins ? 1 : 0);
  }
  return batch;
}

absl::StatusOr<PolicyBatch> DuelRollouts::MakeFirsts(
    const std::vector<int64_t>& prompts) const {
  PolicyBatch batch;
  MetricSums& metrics = batch.rollout_metrics;
  for (int64_t p : prompts) {
    const std::optional<Duel>& duel = rollout_.duels[p];
    Observe(metrics, "frac_left_out", duel ? 0 : 1);
    if (!duel) continue;
    const samplers::Completion& own = rollout_.replies[duel->first];
    const double score = rollout_.scores[duel->first];
    const double other = rollout_.scores[duel->second];
    const double chance = ChanceToWin(options_.preference, score, other);
    batch.packed.AppendCompletion(
        batch.packed.AppendPrompt(rollout_.prompts.prompts[p]), own.tokens);
    batch.old_log_probs.insert(batch.old_log_probs.end(), own.log_probs.begin(),
                               own.log_probs.end());
    batch.advantages.push_back(chance - 0.5);
    batch.ids.push_back(rollout_.prompts.ids[p]);
    Observe(metrics, "rewards/chosen", score);
    Observe(metrics, "rewards/rejected", other);
    Observe(metrics, "rewards/probabilities", chance);
    Observe(metrics, "val/model_contain_eos_token", own.stopped ? 1 : 0);
    Observe(metrics, "val/ref_contain_eos_token",
            rollout_.replies[duel->second].stopped ? 1 : 0);
  }
  if (!parts_.reference || batch.packed.scored.empty()) return batch;
  ALIGN_ASSIGN_OR_RETURN(const std::vector<float> reference,
                         parts_.reference(batch.packed));
  batch.reference_log_probs.assign(reference.begin(), reference.end());
  return batch;
}

}  // namespace align::train
