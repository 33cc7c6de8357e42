#include "samplers/rejection.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "align/base/check.h"

namespace align::samplers {
namespace {

absl::Status Check(size_t keys, std::span<const double> rewards,
                   const RejectionOptions& options) {
  if (keys != rewards.size()) {
    return InvalidArgument("rejection sampling: " + std::to_string(keys) +
                           " candidates and " + std::to_string(rewards.size()) +
                           " rewards; expected one reward a candidate");
  }
  if (options.accept < 1) {
    return InvalidArgument(
        "rejection sampling: accept = " + std::to_string(options.accept) +
        "; expected at least 1");
  }
  if (!(options.beta >= 0) || std::isinf(options.beta)) {
    return InvalidArgument(
        "rejection sampling: beta = " + std::to_string(options.beta) +
        "; expected a finite number of at least 0");
  }
  for (size_t i = 0; i < rewards.size(); ++i) {
    if (std::isfinite(rewards[i])) continue;
    return DataLoss("rejection sampling: reward of candidate " +
                    std::to_string(i) + " is " + std::to_string(rewards[i]) +
                    "; expected a finite number");
  }
  return absl::OkStatus();
}

// One index a distinct key: the last copy's, in the place of the first.
template <typename Key>
std::vector<int64_t> Distinct(std::span<const Key> keys) {
  std::map<Key, size_t> places;
  std::vector<int64_t> distinct;
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto [it, is_new] = places.emplace(keys[i], distinct.size());
    if (is_new) distinct.push_back(0);
    distinct[it->second] = static_cast<int64_t>(i);
  }
  return distinct;
}

double MaxReward(const std::vector<int64_t>& candidates,
                 std::span<const double> rewards) {
  double max = rewards[candidates.front()];
  for (int64_t i : candidates) max = std::max(max, rewards[i]);
  return max;
}

// Probability of accepting reward r in a pass; with beta 0 the limit.
double Acceptance(double r, double r_max, double beta) {
  if (beta == 0) return r == r_max ? 1 : 0;
  return std::exp((r - r_max) / beta);
}

void TakeBest(std::vector<int64_t> candidates, std::span<const double> rewards,
              size_t count, RejectionResult& result) {
  std::stable_sort(
      candidates.begin(), candidates.end(),
      [&](int64_t a, int64_t b) { return rewards[a] > rewards[b]; });
  candidates.resize(std::min(count, candidates.size()));
  result.accepted = std::move(candidates);
}

// Passes of algorithm 1. Each takes at least the best of the remaining, whose
// acceptance is exp(0) = 1, so it ends.
void TakeByRejection(std::vector<int64_t> remaining,
                     std::span<const double> rewards, size_t count, double beta,
                     const Uniforms& uniforms, RejectionResult& result) {
  while (result.accepted.size() < count && !remaining.empty()) {
    ++result.passes;
    const double r_max = MaxReward(remaining, rewards);
    std::vector<int64_t> rejected;
    for (int64_t i : remaining) {
      if (result.accepted.size() == count) break;
      const double u = uniforms();
      ALIGN_CHECK(u >= 0 && u < 1) << "[RejectionSample] a uniform of " << u;
      ++result.draws;
      if (u < Acceptance(rewards[i], r_max, beta)) {
        result.accepted.push_back(i);
      } else {
        rejected.push_back(i);
      }
    }
    remaining = std::move(rejected);
  }
}

template <typename Key>
absl::StatusOr<RejectionResult> Sample(std::span<const Key> keys,
                                       std::span<const double> rewards,
                                       const RejectionOptions& options,
                                       const Uniforms& uniforms) {
  ALIGN_RETURN_IF_ERROR(Check(keys.size(), rewards, options));
  const std::vector<int64_t> candidates = Distinct(keys);
  RejectionResult result;
  result.unique = static_cast<int64_t>(candidates.size());
  result.short_of = std::max<int64_t>(0, options.accept - result.unique);
  if (candidates.empty()) return result;
  const double r_max = MaxReward(candidates, rewards);
  for (int64_t i : candidates) {
    result.expected_acceptance += Acceptance(rewards[i], r_max, options.beta);
  }
  result.expected_acceptance /= static_cast<double>(candidates.size());
  const auto count = static_cast<size_t>(options.accept);
  if (options.beta == 0) {
    TakeBest(candidates, rewards, count, result);
  } else {
    TakeByRejection(candidates, rewards, count, options.beta, uniforms, result);
  }
  return result;
}

void Shuffle(std::vector<int64_t>& values, Rng& rng) {
  const std::vector<int64_t> order =
      rng.Permutation(static_cast<int64_t>(values.size()));
  std::vector<int64_t> shuffled;
  for (int64_t i : order) shuffled.push_back(values[i]);
  values = std::move(shuffled);
}

// Pairs neighbours of a random order of `players`, appends those with a winner
// to `pairs`, and returns who plays on.
std::vector<int64_t> PlayRound(std::vector<int64_t> players,
                               std::span<const double> rewards, Rng& rng,
                               std::vector<RankedPair>& pairs) {
  Shuffle(players, rng);
  std::vector<int64_t> winners;
  size_t i = 0;
  for (; i + 1 < players.size(); i += 2) {
    const int64_t a = players[i], b = players[i + 1];
    const bool b_wins = rewards[b] > rewards[a];
    winners.push_back(b_wins ? b : a);
    if (rewards[a] == rewards[b]) continue;
    pairs.push_back(b_wins ? RankedPair{.chosen = b, .rejected = a}
                           : RankedPair{.chosen = a, .rejected = b});
  }
  if (i < players.size()) winners.push_back(players[i]);
  return winners;
}

}  // namespace

absl::StatusOr<RejectionResult> RejectionSample(
    std::span<const std::string> keys, std::span<const double> rewards,
    const RejectionOptions& options, const Uniforms& uniforms) {
  return Sample(keys, rewards, options, uniforms);
}

absl::StatusOr<RejectionResult> RejectionSample(
    std::span<const std::vector<int32_t>> keys, std::span<const double> rewards,
    const RejectionOptions& options, const Uniforms& uniforms) {
  return Sample(keys, rewards, options, uniforms);
}

absl::StatusOr<RejectionResult> RejectionSample(
    std::span<const std::string> keys, std::span<const double> rewards,
    const RejectionOptions& options, Rng& rng) {
  return Sample(keys, rewards, options, [&rng] { return rng.Uniform(); });
}

absl::StatusOr<RejectionResult> RejectionSample(
    std::span<const std::vector<int32_t>> keys, std::span<const double> rewards,
    const RejectionOptions& options, Rng& rng) {
  return Sample(keys, rewards, options, [&rng] { return rng.Uniform(); });
}

std::vector<RankedPair> FirstRoundPairs(std::span<const int64_t> accepted,
                                        std::span<const double> rewards,
                                        Rng& rng) {
  std::vector<RankedPair> pairs;
  PlayRound({accepted.begin(), accepted.end()}, rewards, rng, pairs);
  return pairs;
}

std::vector<RankedPair> TournamentPairs(std::span<const int64_t> accepted,
                                        std::span<const double> rewards,
                                        Rng& rng) {
  std::vector<RankedPair> pairs;
  std::vector<int64_t> players(accepted.begin(), accepted.end());
  while (players.size() > 1) {
    players = PlayRound(std::move(players), rewards, rng, pairs);
  }
  return pairs;
}

std::vector<RankedPair> NeighbourPairs(std::span<const int64_t> accepted,
                                       std::span<const double> rewards) {
  std::vector<int64_t> order(accepted.begin(), accepted.end());
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return rewards[a] > rewards[b];
  });
  std::vector<RankedPair> pairs;
  for (size_t i = 0; i + 1 < order.size(); i += 2) {
    if (rewards[order[i]] == rewards[order[i + 1]]) continue;
    pairs.push_back({.chosen = order[i], .rejected = order[i + 1]});
  }
  return pairs;
}

int64_t BestOfN(std::span<const double> rewards) {
  ALIGN_CHECK(!rewards.empty()) << "[BestOfN] no rewards";
  int64_t best = 0;
  for (size_t i = 1; i < rewards.size(); ++i) {
    if (std::isnan(rewards[best]) ? !std::isnan(rewards[i])
                                  : rewards[i] > rewards[best]) {
      best = static_cast<int64_t>(i);
    }
  }
  return best;
}

}  // namespace align::samplers
