#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"

namespace align::samplers {

struct RejectionOptions {
  int64_t accept = 8;  // completions wanted per prompt, at least 1
  double beta = 0.5;   // in units of reward; 0: the best `accept` candidates
};

// What rejection sampling took from the N candidates of one prompt. Indices
// point into the candidates as given.
struct RejectionResult {
  std::vector<int64_t> accepted;  // in the order of acceptance, each once
  int64_t unique = 0;             // distinct candidates
  int64_t short_of = 0;           // completions missing: wanted - unique
  int64_t passes = 0;
  int64_t draws = 0;               // uniforms used
  double expected_acceptance = 0;  // mean of exp((r - r_max) / beta)
};

// Uniform numbers in [0, 1), one a call.
using Uniforms = std::function<double()>;

// Statistical rejection sampling (Liu et al. 2023, arXiv 2309.06657, algorithm
// 1): samples follow pi_sft(y) exp(r(y) / beta) as the number of candidates
// grows. Candidates with equal keys are one, in the place of the first copy,
// with index and reward of the last, as in the paper's dictionary. While fewer
// than `accept` are accepted: r_max is the largest reward of those remaining,
// and a pass over them takes each with u < exp((r - r_max) / beta), until there
// are enough; the accepted leave at the end of the pass. With beta 0 the result
// is the best by falling reward, ties to the earlier, and no uniform is used.
// Too few distinct candidates are all returned and `short_of` says so.
//
// `keys` and `rewards` [N] belong to one prompt; a key is the text or the token
// ids of a completion. kInvalidArgument for different lengths, a negative or
// non-finite beta or accept < 1; kDataLoss for a reward that is not finite.
absl::StatusOr<RejectionResult> RejectionSample(
    std::span<const std::string> keys, std::span<const double> rewards,
    const RejectionOptions& options, const Uniforms& uniforms);
absl::StatusOr<RejectionResult> RejectionSample(
    std::span<const std::vector<int32_t>> keys, std::span<const double> rewards,
    const RejectionOptions& options, const Uniforms& uniforms);

// The same with uniforms drawn from `rng`.
absl::StatusOr<RejectionResult> RejectionSample(
    std::span<const std::string> keys, std::span<const double> rewards,
    const RejectionOptions& options, Rng& rng);
absl::StatusOr<RejectionResult> RejectionSample(
    std::span<const std::vector<int32_t>> keys, std::span<const double> rewards,
    const RejectionOptions& options, Rng& rng);

// Candidates by index: rewards[chosen] > rewards[rejected].
struct RankedPair {
  int64_t chosen = 0;
  int64_t rejected = 0;
};

// first-round-rank of the paper: `accepted` in random disjoint pairs, labelled
// by `rewards`, which the indices point into. At most n / 2 pairs: an odd one
// is left over and equal rewards make no pair.
std::vector<RankedPair> FirstRoundPairs(std::span<const int64_t> accepted,
                                        std::span<const double> rewards,
                                        Rng& rng);

// tournament-rank of the paper: winners play on in random pairs until one is
// left, n - 1 matches; an odd one waits for the next round. A draw makes no
// pair and a random one of the two plays on.
std::vector<RankedPair> TournamentPairs(std::span<const int64_t> accepted,
                                        std::span<const double> rewards,
                                        Rng& rng);

// `accepted` by falling reward, ties in their order, in pairs of neighbours:
// 1st over 2nd, 3rd over 4th. Close pairs of every quality, and no chance in
// them; not of the paper, but what TRL's unmerged RSO example calls
// tournament_ranking. At most n / 2 pairs: the worst of an odd number is left
// over and equal rewards make no pair.
std::vector<RankedPair> NeighbourPairs(std::span<const int64_t> accepted,
                                       std::span<const double> rewards);

// Index of the largest reward, ties to the lower index. `rewards` is not empty;
// NaN never wins against a number.
int64_t BestOfN(std::span<const double> rewards);

}  // namespace align::samplers
