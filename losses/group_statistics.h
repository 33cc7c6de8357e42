#pragma once

// Means and standard deviations of samples of one prompt, for baselines.

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

#include "losses/numerics.h"
#include "losses/options.h"

namespace align::losses {

// The advantage of a prompt's only sample.
enum class SingleSample { kZero, kReward };

inline void DescribeSingleSample(OptionList& list, SingleSample* single) {
  list.Choice(
      "single_sample", single,
      {{"zero", SingleSample::kZero}, {"reward", SingleSample::kReward}},
      "a prompt with one sample teaches nothing (zero) or has no "
      "baseline (reward: verl)");
}

// Which prompt each sample belongs to, [B]: equal numbers are one group. Any
// numbers in any order; groups may differ in size.
using Groups = std::vector<int64_t>;

// Sums over samples that have a reward; NaN marks one that could not be scored
// and counts nowhere.
struct SampleStatistics {
  double count = 0, sum = 0, squares = 0;  // squares around the mean
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  double Mean() const { return count == 0 ? 0.0 : sum / count; }
  // Divided by count - 1; 0 below two samples and of equal ones, whose mean may
  // differ from them by a rounding.
  double StandardDeviation() const {
    return count < 2 || low == high ? 0.0 : std::sqrt(squares / (count - 1));
  }
};

// Statistics of `values` within each group, given back to each sample, [B].
inline std::vector<SampleStatistics> StatisticsOfGroups(
    const Eigen::ArrayXd& values, const Groups& groups) {
  std::unordered_map<int64_t, SampleStatistics> by_group;
  for (Eigen::Index i = 0; i < values.size(); ++i) {
    SampleStatistics& s = by_group[groups[i]];
    if (std::isnan(values[i])) continue;
    s.count += 1;
    s.sum += values[i];
    s.low = std::min(s.low, values[i]);
    s.high = std::max(s.high, values[i]);
  }
  for (Eigen::Index i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    SampleStatistics& s = by_group[groups[i]];
    const double d = values[i] - s.Mean();
    s.squares += d * d;
  }
  std::vector<SampleStatistics> out;
  out.reserve(values.size());
  for (Eigen::Index i = 0; i < values.size(); ++i) {
    out.push_back(by_group[groups[i]]);
  }
  return out;
}

// The same of all samples together.
inline SampleStatistics StatisticsOfAll(const Eigen::ArrayXd& values) {
  if (values.size() == 0) return {};
  return StatisticsOfGroups(values, Groups(values.size(), 0)).front();
}

}  // namespace align::losses
