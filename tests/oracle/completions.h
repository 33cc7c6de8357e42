#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <span>
#include <vector>

#include "tests/oracle/json_values.h"
#include "tests/oracle/token_logps.h"

namespace align::oracle {

// The scored tokens of R sequences of length T, laid end to end: N in all.
struct Completions {
  LabelledLogits rows;           // [N]
  std::vector<size_t> sequence;  // [N] which sequence a token belongs to
  std::vector<size_t> position;  // [N] where in it the row of logits stands
  std::vector<size_t> index;     // [N] how many of its tokens come before
  size_t sequences = 0, length = 0;
};

// From logits [R, T, V], ids [R, T] and a mask [R, T] that is 1 on scored
// tokens: the logits at t score the token at t + 1.
Completions CompletionsOf(Json logits, Json ids, Json mask);

// Scores of all tokens, in double or through the fused f32 operation.
RowScores Score(const Completions& completions, bool fused);

// Sums of a value a token over the tokens of each sequence, [R].
Eigen::ArrayXd SumBySequence(const Completions& completions,
                             std::span<const double> values);
// How many tokens each sequence has, [R].
Eigen::ArrayXd TokenCounts(const Completions& completions);

// The mean over the tokens of the sequences [begin, end).
double MeanOverTokens(const Completions& completions,
                      std::span<const double> values, size_t begin, size_t end);

// d (sum_k seed_k log_prob_k) / d logits, [R * T * V]: 0 at rows that score
// nothing.
std::vector<double> GradientByLogits(const Completions& completions,
                                     const std::vector<double>& seeds,
                                     bool fused);

}  // namespace align::oracle
