#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "align/ops/packed_batch.h"
#include "align/tensor/tensor.h"

namespace align {

// The weight [V, D] of a language-model head, and what is done to its logits
// before anything else: with a soft cap, cap tanh(logit / cap) (Gemma 2).
struct LogitHead : Tensor {
  LogitHead(const Tensor& weight, double cap = 0)  // a plain weight is a head
      : Tensor(weight), soft_cap(cap) {}
  double soft_cap = 0;  // 0: none
};

struct ScoreOptions {
  double temperature = 1;   // divides the logits; > 0
  bool entropy = false;     // also give each token's entropy
  bool statistics = false;  // also give TokenStatistics
  // Logits are kept for the backward pass up to this size and recomputed, with
  // the same bits, beyond it.
  int64_t head_cache_mb = 256;
};

// Facts about the distribution at each scored token, without gradients.
struct TokenStatistics {
  std::vector<float> mean_logit;   // mean over the vocabulary
  std::vector<float> sum_squares;  // sum of squared probabilities
  std::vector<uint8_t> label_is_argmax;
};

struct TokenScores {
  // [1, R] or, with entropy, [2, R]: row 0 log p(label), row 1 the entropy in
  // nats. Backward takes one seed per token for each.
  Tensor values;
  TokenStatistics statistics;

  std::span<const float> log_probs() const;
  std::span<const float> entropies() const;
};

// The fused head: log-probabilities of labels under softmax(hidden head^T)
// without a whole [R, V] in f32 beyond head_cache_mb. hidden [N, D] are the
// final rows of a model, head [V, D]. Head matmul, log-sum-exp and gather run
// in vocabulary chunks. A token's bits depend on its hidden row and label only.
TokenScores ScoreTokens(const Tensor& hidden, const LogitHead& head,
                        std::span<const ScoredToken> tokens,
                        const ScoreOptions& options = {});

// The one subtraction that turns a scaled logit into a log-probability.
inline float LogProb(float logit, float log_sum_exp) {
  return logit - log_sum_exp;
}

// Sampling's side of the same computation, same bits: the scaled logits
// [R, V] of every row of hidden [R, D], and each row's log-sum-exp, so that
// log p(v) = logits[r, v] - log_sum_exp[r]. Never recorded.
struct HeadLogits {
  Tensor logits;
  std::vector<float> log_sum_exp;
};
HeadLogits ComputeHeadLogits(const Tensor& hidden, const LogitHead& head,
                             double temperature);
// The log-sum-exp of each row of `logits` [R, V], same bits as above.
std::vector<float> RowLogSumExps(const Tensor& logits);

}  // namespace align
