#pragma once

// Baselines from the other samples of the prompt: RLOO and OPO.

#include <cmath>
#include <unordered_map>
#include <vector>

#include "losses/advantages.h"
#include "losses/group_statistics.h"
#include "losses/options.h"
#include "losses/sequence_rewards.h"

namespace align::losses {

struct LeaveOneOutOptions {
  bool normalize = false;
  double epsilon = 1e-4;
  SingleSample single = SingleSample::kZero;

  void Describe(OptionList& list) {
    list.Flag("normalize_advantages", &normalize,
              "whiten the advantages over the batch (TRL)");
    list.Number("epsilon", &epsilon, {.low = 0},
                "added to the deviation if so: TRL 1e-4");
    DescribeSingleSample(list, &single);
  }
  AdvantageNeeds Needs() const {
    return {.groups = true, .whole_batch = normalize};
  }
};

// A_i = R_i - mean of the other samples' R. Ahmadian et al. 2024 (arXiv
// 2402.14740), eq. 8. A sample without a score is no one's baseline.
inline AdvantageResult LeaveOneOutAdvantages(
    const AdvantageInputs& in, const LeaveOneOutOptions& options) {
  const Eigen::ArrayXd rewards = SequenceRewards(in);
  const std::vector<SampleStatistics> group =
      StatisticsOfGroups(rewards, in.groups);
  AdvantageResult out;
  out.advantages = out.reward_std = Eigen::ArrayXd::Zero(rewards.size());
  for (Eigen::Index i = 0; i < rewards.size(); ++i) {
    const SampleStatistics& s = group[i];
    out.reward_std[i] = s.StandardDeviation();
    if (std::isnan(rewards[i]) || s.low == s.high) {
      const bool raw = s.count == 1 && options.single == SingleSample::kReward;
      if (raw && !std::isnan(rewards[i])) out.advantages[i] = rewards[i];
      continue;
    }
    out.advantages[i] = rewards[i] - (s.sum - rewards[i]) / (s.count - 1);
  }
  if (options.normalize) {
    const SampleStatistics all = StatisticsOfAll(out.advantages);
    const double scale = all.StandardDeviation() + options.epsilon;
    if (scale > 0) out.advantages = (out.advantages - all.Mean()) / scale;
  }
  return out;
}

struct OpoOptions {
  SingleSample single = SingleSample::kZero;

  void Describe(OptionList& list) { DescribeSingleSample(list, &single); }
  AdvantageNeeds Needs() const { return {.groups = true}; }
};

// A_i = R_i - sum_j n_j R_j / sum_j n_j over the prompt's samples, n being
// their scored tokens: the baseline of least variance where gradients grow with
// length. Hao et al. 2025 (arXiv 2505.23585), eq. 6.
inline AdvantageResult OpoAdvantages(const AdvantageInputs& in,
                                     const OpoOptions& options) {
  const Eigen::ArrayXd rewards = SequenceRewards(in);
  const std::vector<SampleStatistics> group =
      StatisticsOfGroups(rewards, in.groups);
  std::unordered_map<int64_t, WeightedSum> baseline;
  for (Eigen::Index i = 0; i < rewards.size(); ++i) {
    if (std::isnan(rewards[i])) continue;
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      if (!in.Scored(t)) continue;
      baseline[in.groups[i]].sum += rewards[i];
      baseline[in.groups[i]].weight += 1;
    }
  }
  AdvantageResult out;
  out.advantages = out.reward_std = Eigen::ArrayXd::Zero(rewards.size());
  for (Eigen::Index i = 0; i < rewards.size(); ++i) {
    const SampleStatistics& s = group[i];
    out.reward_std[i] = s.StandardDeviation();
    if (std::isnan(rewards[i])) continue;
    if (s.low != s.high) {
      out.advantages[i] = rewards[i] - baseline[in.groups[i]].Mean();
    } else if (s.count == 1 && options.single == SingleSample::kReward) {
      out.advantages[i] = rewards[i];
    }
  }
  return out;
}

}  // namespace align::losses
