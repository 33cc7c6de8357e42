#pragma once

// Advantages from the other samples of the same prompt, one a sequence.

#include <cmath>
#include <vector>

#include "losses/advantages.h"
#include "losses/group_statistics.h"
#include "losses/options.h"
#include "losses/sequence_rewards.h"

namespace align::losses {

enum class RewardScale { kGroup, kBatch, kNone };
enum class RewardMix { kSumThenNormalize, kNormalizeThenSum };

struct GroupAdvantageOptions {
  RewardScale scale = RewardScale::kGroup;
  double epsilon = 1e-4;
  RewardMix mix = RewardMix::kSumThenNormalize;
  SingleSample single = SingleSample::kZero;

  void Describe(OptionList& list) {
    list.Choice("scale_rewards", &scale,
                {{"group", RewardScale::kGroup},
                 {"batch", RewardScale::kBatch},
                 {"none", RewardScale::kNone}},
                "divide by the standard deviation of the prompt's samples "
                "(group: GRPO; TRL, verl, OpenRLHF), of all samples (batch) or "
                "not at all (none: Dr. GRPO, verl's norm_adv_by_std_in_grpo = "
                "False)");
    list.Number("epsilon", &epsilon, {.low = 0},
                "added to that deviation, which is the unbiased one: TRL 1e-4, "
                "verl and NeMo-RL 1e-6, OpenRLHF 1e-9");
    list.Choice(
        "multi_objective_aggregation", &mix,
        {{"sum_then_normalize", RewardMix::kSumThenNormalize},
         {"normalize_then_sum", RewardMix::kNormalizeThenSum}},
        "several reward functions: sum, then normalise, or each "
        "normalised within its group, summed, and the sums normalised "
        "over the batch (GDPO, Liu et al. 2026, arXiv 2601.05242; TRL)");
    DescribeSingleSample(list, &single);
  }

  AdvantageNeeds Needs() const {
    const bool normalized = mix == RewardMix::kNormalizeThenSum;
    return {.groups = true,
            .whole_batch = scale == RewardScale::kBatch || normalized,
            .only_scores = normalized};
  }
};

// (r - mean of the group) / (deviation + epsilon) of one score a sample, [B]; 0
// for NaN.
inline Eigen::ArrayXd NormalizeWithinGroups(
    const Eigen::ArrayXd& rewards, const Groups& groups,
    const GroupAdvantageOptions& options) {
  const std::vector<SampleStatistics> group =
      StatisticsOfGroups(rewards, groups);
  const double batch_deviation = StatisticsOfAll(rewards).StandardDeviation();
  Eigen::ArrayXd out = Eigen::ArrayXd::Zero(rewards.size());
  for (Eigen::Index i = 0; i < rewards.size(); ++i) {
    const SampleStatistics& s = group[i];
    if (std::isnan(rewards[i])) continue;
    const bool raw = s.count == 1 && options.single == SingleSample::kReward;
    double deviation = raw ? 1.0 : s.StandardDeviation();
    if (options.scale == RewardScale::kBatch) deviation = batch_deviation;
    const double scale =
        options.scale == RewardScale::kNone ? 1.0 : deviation + options.epsilon;
    const double centred = rewards[i] - (raw ? 0.0 : s.Mean());
    // Equal rewards teach nothing, whatever their mean rounds to.
    out[i] = (!raw && s.low == s.high) || scale == 0 ? 0.0 : centred / scale;
  }
  return out;
}

// Group-relative advantages. Shao et al. 2024 (arXiv 2402.03300), section 4.1.2
// (outcome supervision); without scaling Liu et al. 2025 (Dr. GRPO, arXiv
// 2503.20783), section 3.1.
inline AdvantageResult GroupAdvantages(const AdvantageInputs& in,
                                       const GroupAdvantageOptions& options) {
  AdvantageResult out;
  const Eigen::ArrayXd sums = SequenceRewards(in);
  out.reward_std.resize(sums.size());
  const std::vector<SampleStatistics> group =
      StatisticsOfGroups(sums, in.groups);
  for (Eigen::Index i = 0; i < sums.size(); ++i) {
    out.reward_std[i] = group[i].StandardDeviation();
  }
  if (options.mix == RewardMix::kSumThenNormalize) {
    out.advantages = NormalizeWithinGroups(sums, in.groups, options);
    return out;
  }
  const Eigen::ArrayXXd each = in.rewards_per_function.size() > 0
                                   ? in.rewards_per_function
                                   : Eigen::ArrayXXd(in.rewards);
  Eigen::ArrayXd mixed = Eigen::ArrayXd::Zero(sums.size());
  for (Eigen::Index k = 0; k < each.cols(); ++k) {
    const double weight =
        in.reward_weights.empty() ? 1.0 : in.reward_weights[k];
    mixed += weight * NormalizeWithinGroups(each.col(k), in.groups, options);
  }
  // What no function scored is no part of the batch either.
  mixed = sums.isNaN().select(sums, mixed);
  const SampleStatistics all = StatisticsOfAll(mixed);
  const double scale = all.StandardDeviation() + options.epsilon;
  out.advantages = Eigen::ArrayXd::Zero(mixed.size());
  if (scale > 0) {
    out.advantages =
        mixed.isNaN().select(out.advantages, (mixed - all.Mean()) / scale);
  }
  return out;
}

}  // namespace align::losses
