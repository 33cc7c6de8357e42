#include "align/train/group_rollout.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "align/base/check.h"
#include "losses/advantage_registry.h"
#include "losses/sequence_rewards.h"

namespace align::train {
namespace {

constexpr char kWhere[] = "group rollout";

RolloutPlan PlanOf(const GroupRolloutOptions& options) {
  return {.prompts = options.prompts,
          .rollouts = options.rollouts,
          .epochs = options.epochs,
          .minibatches = options.minibatches,
          .kl_coef = options.kl_coef,
          .kl_target = options.kl_target,
          .kl_horizon = options.kl_horizon};
}

absl::Status CheckParts(const GroupRolloutParts& parts,
                        const GroupRolloutOptions& options) {
  const auto bad = [](const std::string& what) {
    return InvalidArgument(std::string(kWhere) + ": " + what);
  };
  if (options.group_size < 1) {
    return bad("group_size " + std::to_string(options.group_size) + " < 1");
  }
  ALIGN_RETURN_IF_ERROR(CheckWeights(kWhere, parts.rewards));
  const losses::AdvantageNeeds& needs = parts.advantage.needs;
  if (needs.values) {
    return bad(
        "the advantages need a critic, which groups do not have; expected an "
        "estimator that compares samples");
  }
  if (options.kl_coef == 0) return absl::OkStatus();
  if (!parts.reference) return bad("kl_coef needs a reference");
  if (needs.only_scores) {
    return bad(
        "kl_coef: these advantages are of the scores alone; expected 0 (the "
        "loss's beta also is a KL penalty) or another estimator");
  }
  return absl::OkStatus();
}

// A group's prompt and its completions; those that are `left_out` are empty.
void AppendGroup(const GroupRollout& rollout, int64_t group, int64_t size,
                 const std::vector<bool>& left_out, PackedBatch& packed) {
  const int32_t prefix = packed.AppendPrompt(rollout.prompts[group]);
  for (int64_t i = group * size; i < (group + 1) * size; ++i) {
    if (!left_out.empty() && left_out[i]) {
      packed.AppendCompletion(prefix, {});
    } else {
      packed.AppendCompletion(prefix, rollout.completions[i]);
    }
  }
}

MetricSum Mean(const Eigen::ArrayXd& values) {
  const losses::SampleStatistics all = losses::StatisticsOfAll(values);
  return {all.Mean(), all.count > 0 ? 1.0 : 0.0};
}

void AddRewardMetrics(const GroupRollout& rollout,
                      const std::vector<std::string>& names,
                      MetricSums& metrics) {
  const losses::AdvantageInputs& in = rollout.inputs;
  const Eigen::ArrayXd sums = losses::SumRewards(in);
  const std::vector<losses::SampleStatistics> of_groups =
      losses::StatisticsOfGroups(sums, in.groups);
  const size_t size = of_groups.size() / rollout.prompts.size();
  double deviations = 0, equal = 0;
  for (size_t i = 0; i < of_groups.size(); i += size) {
    deviations += of_groups[i].StandardDeviation();
    equal += of_groups[i].StandardDeviation() == 0 ? 1 : 0;
  }
  const auto groups = static_cast<double>(rollout.prompts.size());
  metrics["reward"] = Mean(sums);
  metrics["reward_std"] = {deviations, groups};
  metrics["frac_reward_zero_std"] = {equal, groups};
  for (size_t k = 0; k < names.size(); ++k) {
    const Eigen::ArrayXd column =
        in.rewards_per_function.col(static_cast<Eigen::Index>(k));
    const losses::SampleStatistics all = losses::StatisticsOfAll(column);
    metrics["rewards/" + names[k] + "/mean"] = Mean(column);
    if (all.count == 0) continue;
    metrics["rewards/" + names[k] + "/std"] = {all.StandardDeviation(), 1};
  }
}

void AddLengthMetrics(const GroupRollout& rollout, MetricSums& metrics) {
  Eigen::ArrayXd lengths(static_cast<Eigen::Index>(rollout.stopped.size()));
  Eigen::ArrayXd ended = lengths;
  double clipped = 0;
  for (Eigen::Index i = 0; i < lengths.size(); ++i) {
    lengths[i] = static_cast<double>(rollout.completions[i].size());
    ended[i] = rollout.stopped[i] ? lengths[i]
                                  : std::numeric_limits<double>::quiet_NaN();
    clipped += rollout.stopped[i] ? 0 : 1;
  }
  for (const auto& [name, values] : {std::pair("length", &lengths),
                                     std::pair("terminated_length", &ended)}) {
    const losses::SampleStatistics all = losses::StatisticsOfAll(*values);
    if (all.count == 0) continue;
    const std::string suffix = std::string("_") + name;
    metrics["completions/mean" + suffix] = {all.Mean(), 1};
    metrics["completions/min" + suffix] = {all.low, 1};
    metrics["completions/max" + suffix] = {all.high, 1};
  }
  metrics["completions/clipped_ratio"] = {clipped,
                                          static_cast<double>(lengths.size())};
}

// The elements from `begin` to `end`, if there are any elements.
template <class Values>
void AppendTokens(const Values& from, int64_t begin, int64_t end,
                  std::vector<double>& to) {
  if (from.size() == 0) return;
  to.insert(to.end(), from.begin() + begin, from.begin() + end);
}

// Whether each completion is left out of learning.
std::vector<bool> LeftOut(const GroupRollout& rollout,
                          const GroupRolloutOptions& options) {
  std::vector<bool> left_out(rollout.stopped.size(), false);
  if (!options.mask_truncated_completions) return left_out;
  left_out = rollout.stopped;
  left_out.flip();
  return left_out;
}

}  // namespace

absl::StatusOr<NamedAdvantage> MakeAdvantage(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values) {
  losses::AdvantageEstimatorOrError made =
      losses::MakeAdvantageEstimator(name, values);
  if (!made.ok()) return InvalidArgument(made.error);
  return NamedAdvantage{std::move(made.estimator), made.needs};
}

absl::StatusOr<std::unique_ptr<GroupRollouts>> GroupRollouts::Create(
    PromptBatch prompts, GroupRolloutParts parts,
    const GroupRolloutOptions& options, const Rng& rng) {
  ALIGN_CHECK(parts.generate && parts.advantage.estimator)
      << "[GroupRollouts] a part is missing";
  ALIGN_CHECK(parts.greedy || !parts.advantage.needs.baselines)
      << "[GroupRollouts] these advantages need greedy replies";
  ALIGN_RETURN_IF_ERROR(CheckPlan(
      kWhere, PlanOf(options), static_cast<int64_t>(prompts.prompts.size())));
  ALIGN_RETURN_IF_ERROR(CheckParts(parts, options));
  return std::unique_ptr<GroupRollouts>(
      new GroupRollouts(std::move(prompts), std::move(parts), options, rng));
}

GroupRollouts::GroupRollouts(PromptBatch prompts, GroupRolloutParts parts,
                             const GroupRolloutOptions& options, const Rng& rng)
    : prompts_(std::move(prompts)),
      parts_(std::move(parts)),
      options_(options),
      schedule_(PlanOf(options), static_cast<int64_t>(prompts_.prompts.size()),
                rng) {}

absl::StatusOr<std::optional<PolicyBatch>> GroupRollouts::Next() {
  return NextBatchOf<PolicyBatch>(
      schedule_, [this] { return MakeRollout(); },
      [this](const std::vector<int64_t>& groups) { return MakeBatch(groups); });
}

absl::StatusOr<int64_t> GroupRollouts::MakeRollout() {
  ALIGN_RETURN_IF_ERROR(Sample());
  ALIGN_RETURN_IF_ERROR(ScoreReplies(
      parts_.rewards, RepeatEach(rollout_.prompts, options_.group_size),
      rollout_.completions, rollout_.stopped, options_.missing_eos_penalty,
      rollout_.inputs));
  if (parts_.advantage.needs.baselines) ALIGN_RETURN_IF_ERROR(TakeBaselines());
  if (parts_.reference) ALIGN_RETURN_IF_ERROR(ScoreReference());
  ALIGN_RETURN_IF_ERROR(Compare());
  return static_cast<int64_t>(rollout_.log_probs.size());
}

absl::Status GroupRollouts::Sample() {
  rollout_ = GroupRollout();
  PromptBatch taken = TakePrompts(prompts_, schedule_.Prompts());
  rollout_.prompts = std::move(taken.prompts);
  rollout_.ids = std::move(taken.ids);
  ALIGN_ASSIGN_OR_RETURN(
      std::vector<samplers::Completion> completions,
      parts_.generate(rollout_.prompts, schedule_.SamplingStream()));
  ALIGN_RETURN_IF_ERROR(CheckReplies(
      kWhere, completions,
      rollout_.prompts.size() * static_cast<size_t>(options_.group_size)));
  losses::AdvantageInputs& in = rollout_.inputs;
  in.offsets = {0};
  for (samplers::Completion& completion : completions) {
    rollout_.log_probs.insert(rollout_.log_probs.end(),
                              completion.log_probs.begin(),
                              completion.log_probs.end());
    in.groups.push_back(static_cast<int64_t>(rollout_.stopped.size()) /
                        options_.group_size);
    in.offsets.push_back(static_cast<Eigen::Index>(rollout_.log_probs.size()));
    rollout_.stopped.push_back(completion.stopped);
    rollout_.completions.push_back(std::move(completion.tokens));
  }
  if (!options_.mask_truncated_completions) return absl::OkStatus();
  in.mask = Eigen::ArrayXd::Ones(in.offsets.back());
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    if (rollout_.stopped[i]) continue;
    in.mask.segment(in.offsets[i], in.offsets[i + 1] - in.offsets[i]) = 0;
  }
  return absl::OkStatus();
}

absl::Status GroupRollouts::TakeBaselines() {
  ALIGN_ASSIGN_OR_RETURN(
      std::vector<samplers::Completion> greedy,
      parts_.greedy(rollout_.prompts, schedule_.SamplingStream()));
  ALIGN_RETURN_IF_ERROR(CheckReplies(kWhere, greedy, rollout_.prompts.size()));
  std::vector<std::vector<int32_t>> replies;
  std::vector<bool> stopped;
  for (samplers::Completion& reply : greedy) {
    replies.push_back(std::move(reply.tokens));
    stopped.push_back(reply.stopped);
  }
  losses::AdvantageInputs& in = rollout_.inputs;
  losses::AdvantageInputs of_greedy;
  ALIGN_RETURN_IF_ERROR(ScoreReplies(parts_.rewards, rollout_.prompts, replies,
                                     stopped, options_.missing_eos_penalty,
                                     of_greedy));
  const Eigen::ArrayXd sums = losses::SumRewards(of_greedy);
  in.baselines.resize(in.sequences());
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    const double baseline = sums[in.groups[i]];
    in.baselines[i] = std::isnan(baseline) ? 0.0 : baseline;
    if (std::isnan(baseline)) in.rewards_per_function.row(i) = baseline;
  }
  return absl::OkStatus();
}

// Whole groups, up to `max_tokens` at a time, which changes no number.
absl::Status GroupRollouts::ScoreReference() {
  PackedBatch packed;
  const auto flush = [&]() -> absl::Status {
    ALIGN_ASSIGN_OR_RETURN(const std::vector<float> scores,
                           parts_.reference(packed));
    if (scores.size() != packed.scored.size()) {
      return InvalidArgument(std::string(kWhere) + ": the reference gave " +
                             std::to_string(scores.size()) +
                             " log-probs; expected " +
                             std::to_string(packed.scored.size()));
    }
    rollout_.reference_log_probs.insert(rollout_.reference_log_probs.end(),
                                        scores.begin(), scores.end());
    packed = PackedBatch();
    return absl::OkStatus();
  };
  const auto groups = static_cast<int64_t>(rollout_.prompts.size());
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t first = g * options_.group_size;
    const auto size = static_cast<int64_t>(rollout_.prompts[g].size()) +
                      static_cast<int64_t>(
                          rollout_.inputs.offsets[first + options_.group_size] -
                          rollout_.inputs.offsets[first]);
    if (packed.rows() > 0 && packed.rows() + size > options_.max_tokens) {
      ALIGN_RETURN_IF_ERROR(flush());
    }
    AppendGroup(rollout_, g, options_.group_size, {}, packed);
  }
  return flush();
}

// Advantages and metrics.
absl::Status GroupRollouts::Compare() {
  losses::AdvantageInputs& in = rollout_.inputs;
  const double kl_coef = schedule_.state().kl_coef;
  const auto completions = static_cast<double>(in.sequences());
  double kl_sum = 0;
  if (kl_coef > 0) {
    in.token_rewards.resize(in.offsets.back());
    for (Eigen::Index t = 0; t < in.token_rewards.size(); ++t) {
      const double kl =
          losses::KlOf(options_.kl_estimator,
                       rollout_.log_probs[t] - rollout_.reference_log_probs[t])
              .value;
      in.token_rewards[t] = -kl_coef * kl;
      kl_sum += kl;
    }
  }
  const losses::AdvantageNeeds& needs = parts_.advantage.needs;
  const std::string error = losses::CheckAdvantageInputs(in, needs);
  if (!error.empty()) return DataLoss(std::string(kWhere) + ": " + error);
  rollout_.advantages = parts_.advantage.estimator(in);

  std::vector<std::string> names;
  for (const WeightedReward& reward : parts_.rewards) {
    names.push_back(reward.name);
  }
  if (options_.missing_eos_penalty) names.push_back("missing_eos_penalty");
  AddRewardMetrics(rollout_, names, rollout_.metrics);
  AddLengthMetrics(rollout_, rollout_.metrics);
  if (kl_coef > 0) {
    rollout_.metrics["objective/kl"] = {kl_sum, completions};
    rollout_.metrics["kl_coef"] = {kl_coef, 1};
    schedule_.UpdateKl(kl_sum / completions, completions);
  }
  return absl::OkStatus();
}

PolicyBatch GroupRollouts::MakeBatch(const std::vector<int64_t>& groups) const {
  PolicyBatch batch;
  batch.rollout_metrics = rollout_.metrics;
  const std::vector<bool> left_out = LeftOut(rollout_, options_);
  for (int64_t g : groups) {
    AppendGroup(rollout_, g, options_.group_size, left_out, batch.packed);
    for (int64_t k = 0; k < options_.group_size; ++k) {
      const int64_t i = g * options_.group_size + k;
      batch.ids.push_back(rollout_.ids[g] + "#" + std::to_string(k));
      AppendTokens(rollout_.advantages.advantages, i, i + 1, batch.advantages);
      if (left_out[i]) continue;
      const int64_t begin = rollout_.inputs.offsets[i];
      const int64_t end = rollout_.inputs.offsets[i + 1];
      AppendTokens(rollout_.log_probs, begin, end, batch.old_log_probs);
      AppendTokens(rollout_.reference_log_probs, begin, end,
                   batch.reference_log_probs);
      AppendTokens(rollout_.advantages.token_advantages, begin, end,
                   batch.token_advantages);
    }
  }
  return batch;
}

}  // namespace align::train
