#include "align/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "align/base/check.h"

namespace align {
namespace {

// 1 for a win, 1/2 for a tie, 0 for a loss, by prompt.
std::vector<double> Outcomes(std::span<const double> scores,
                             std::span<const double> baseline) {
  ALIGN_CHECK(!scores.empty() && scores.size() == baseline.size())
      << "win rate of " << scores.size() << " scores against "
      << baseline.size();
  std::vector<double> outcomes(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    outcomes[i] = scores[i] > baseline[i]    ? 1.0
                  : scores[i] == baseline[i] ? 0.5
                                             : 0.0;
  }
  return outcomes;
}

// Sums of halves are exact, so a rate does not depend on the order of prompts.
double Mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// The point below which `share` of `sorted` lies: linear between the order
// statistics around share * (n - 1) (type 7 of Hyndman and Fan 1996).
double Quantile(std::span<const double> sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double weight = position - static_cast<double>(below);
  return sorted[below] + weight * (sorted[above] - sorted[below]);
}

}  // namespace

double DistinctN(std::span<const std::vector<int32_t>> replies, int64_t n) {
  ALIGN_CHECK(n >= 1) << "n-grams of " << n;
  const auto width = static_cast<size_t>(n);
  std::vector<std::span<const int32_t>> grams;
  for (const std::vector<int32_t>& reply : replies) {
    for (size_t i = 0; i + width <= reply.size(); ++i) {
      grams.push_back(std::span(reply).subspan(i, width));
    }
  }
  if (grams.empty()) return 0;
  const auto all = static_cast<double>(grams.size());
  std::ranges::sort(grams, [](const auto& a, const auto& b) {
    return std::ranges::lexicographical_compare(a, b);
  });
  const auto repeated = std::ranges::unique(
      grams,
      [](const auto& a, const auto& b) { return std::ranges::equal(a, b); });
  return (all - static_cast<double>(repeated.size())) / all;
}

MeanError MeanAndError(std::span<const double> values) {
  ALIGN_CHECK(!values.empty()) << "mean of no values";
  const auto count = static_cast<double>(values.size());
  const double mean = Mean(values);
  if (values.size() == 1) {
    return {mean, std::numeric_limits<double>::quiet_NaN()};
  }
  // Deviations from the mean: sums of squares would cancel for a large mean.
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (count - 1) / count)};
}

double WinRate(std::span<const double> scores,
               std::span<const double> baseline) {
  return Mean(Outcomes(scores, baseline));
}

WinInterval BootstrapWinRate(std::span<const double> scores,
                             std::span<const double> baseline,
                             int64_t resamples, Rng rng) {
  ALIGN_CHECK(resamples >= 1) << "bootstrap of " << resamples << " resamples";
  const std::vector<double> outcomes = Outcomes(scores, baseline);
  std::vector<double> rates(static_cast<size_t>(resamples));
  for (double& rate : rates) {
    double wins = 0;
    for (size_t i = 0; i < outcomes.size(); ++i) {
      wins += outcomes[rng.Below(outcomes.size())];
    }
    rate = wins / static_cast<double>(outcomes.size());
  }
  std::ranges::sort(rates);
  return {Mean(outcomes), Quantile(rates, 0.025), Quantile(rates, 0.975)};
}

double BestOfNKlBound(int64_t n) {
  ALIGN_CHECK(n >= 1) << "best of " << n;
  const auto count = static_cast<double>(n);
  return std::log(count) - (count - 1) / count;
}

double MeanLogRatio(std::span<const double> policy_log_probs,
                    std::span<const double> reference_log_probs) {
  ALIGN_CHECK(!policy_log_probs.empty() &&
              policy_log_probs.size() == reference_log_probs.size())
      << "log-ratio of " << policy_log_probs.size() << " sequences to "
      << reference_log_probs.size();
  double sum = 0;
  for (size_t i = 0; i < policy_log_probs.size(); ++i) {
    sum += policy_log_probs[i] - reference_log_probs[i];
  }
  return sum / static_cast<double>(policy_log_probs.size());
}

}  // namespace align
