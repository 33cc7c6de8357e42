#pragma once

#include <cstdint>
#include <limits>

namespace align::kernels {

// What a pass over logits in chunks of fixed places knows about one row so far.
// Sums are relative to the running maximum.
struct RowSums {
  float maximum = -std::numeric_limits<float>::infinity();
  float exponentials = 0;  // sum e^(z - max)
  float weighted = 0;      // sum (z - max) e^(z - max)
  float squares = 0;       // sum e^(2 (z - max))
  double logits = 0;       // sum z

  float LogSumExp() const;
  // In nats: log(exponentials) - weighted / exponentials.
  float Entropy() const;
  float SumSquaredProbabilities() const;
};

// z = logit, soft-capped (cap > 0) and then divided by the temperature, in
// place over `count` logits.
void ScaleLogits(float* z, int64_t count, float temperature, float soft_cap);

// Takes one more chunk in. `moments`: also weighted, squares and logits; the
// other two have the same bits either way.
void AddChunk(const float* z, int64_t count, bool moments, RowSums& sums);

// The first of `count` logits at which the sum of probabilities
// e^(z - log_sum_exp) exceeds `target`; where it never does, the last with a
// probability above zero.
int64_t InvertCumulative(const float* z, int64_t count, float log_sum_exp,
                         double target);

// One row's logit gradients of one chunk, in place of its scaled logits:
//   dz = (log_prob_seed (1[v = label] - p) - entropy_seed p (log p + H))
//        * d(z)/d(raw logit).
// `label` is relative to the chunk; outside [0, count) it is not in it.
struct LogitSeeds {
  float log_prob = 0;
  float entropy = 0;
  float log_sum_exp = 0;
  float row_entropy = 0;
  float temperature = 1;
  float soft_cap = 0;
};
void LogitGradients(const LogitSeeds& seeds, int64_t label, int64_t count,
                    float* z);

}  // namespace align::kernels
