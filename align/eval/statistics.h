#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "align/base/rng.h"

namespace align {

// The numbers by which methods are compared. Pure functions over finite values;
// spans of different lengths, or without a value where one is needed, are
// misuse and checked. Any thread may call them.

// Distinct n-grams over all n-grams of all replies together (Li et al. 2016,
// "A Diversity-Promoting Objective Function"); an n-gram lies within one reply.
// `replies` are token ids; n >= 1. 0 when no reply has n tokens.
double DistinctN(std::span<const std::vector<int32_t>> replies, int64_t n);

struct MeanError {
  double mean = 0;
  // Standard error: the deviation with n - 1 in its denominator, over sqrt(n).
  // NaN for one value, whose error is unknown.
  double stderr_of_mean = 0;
};
// Of at least one value.
MeanError MeanAndError(std::span<const double> values);

// Share of prompts on which scores[i] beats baseline[i], a tie counting one
// half: in [0, 1], and exactly 0.5 of a method against itself.
double WinRate(std::span<const double> scores,
               std::span<const double> baseline);

struct WinInterval {
  double rate = 0;  // of the scores as they are
  double low = 0;   // 2.5 % and 97.5 % points of the resampled rates
  double high = 0;
};
// WinRate with a 95 % percentile bootstrap interval (Efron 1979): prompts are
// drawn with replacement `resamples` >= 1 times, scores and baseline together.
// Points between two order statistics are interpolated. The result depends on
// the arguments alone. Time is resamples x prompts.
WinInterval BootstrapWinRate(std::span<const double> scores,
                             std::span<const double> baseline,
                             int64_t resamples, Rng rng);

// log n - (n - 1) / n nats, an upper bound of the KL divergence of best-of-n
// from what it samples (Stiennon et al. 2020, appendix G.3; a bound, not a
// value: Beirami et al. 2024). n >= 1.
double BestOfNKlBound(int64_t n);

// Mean of log p(policy) - log p(reference) over sequences in nats. With
// sequences drawn from the policy it is an unbiased estimate of the divergence
// of the policy from the reference (k1 of Schulman 2020). At least one
// sequence.
double MeanLogRatio(std::span<const double> policy_log_probs,
                    std::span<const double> reference_log_probs);

}  // namespace align
