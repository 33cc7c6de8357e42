#pragma once

#include <cstdint>
#include <span>

#include "align/ops/packed_batch.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tensor.h"

namespace align {

struct DivergenceOptions {
  // Weight of the teacher in the mixture, in [0, 1]; 0 is KL(teacher, student),
  // 1 KL(student, teacher), as in TRL.
  double beta = 0.5;
  double temperature = 1;  // divides the logits of both; > 0
  // Logits of both are kept up to this size together and recomputed, with the
  // same bits, beyond it.
  int64_t head_cache_mb = 256;
};

// The final rows of a model, [N, D], and its head [V, D].
struct HeadInput {
  Tensor hidden;
  LogitHead head;
};

// [1, R]: in nats, the generalised Jensen-Shannon divergence of the
// distributions over all V labels that teacher and student give at each of
// `tokens`, whose labels do not matter, without a whole [R, V] in f32 beyond
// head_cache_mb:
//   beta KL(t, m) + (1 - beta) KL(s, m),  m = beta t + (1 - beta) s
// Agarwal et al. 2023 (GKD, arXiv 2306.13649), eq. 1; losses/jsd.h is the same
// on rows of log-probs. Chunked as ScoreTokens is. N and V are the same for
// both, D and the soft cap need not be. Gradients go into the student alone:
// the teacher is a constant. A token's bits depend on its two rows only.
Tensor TokenDivergence(const HeadInput& student, const HeadInput& teacher,
                       std::span<const ScoredToken> tokens,
                       const DivergenceOptions& options = {});

}  // namespace align
