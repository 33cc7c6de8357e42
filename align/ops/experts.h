#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "align/tensor/tensor.h"

namespace align {

// How a router chooses a few experts a token and weighs them.
struct RouterOptions {
  enum class Score { kSoftmax, kSigmoid };

  int64_t chosen = 1;  // experts a token
  Score score = Score::kSoftmax;
  // Group-limited choice (DeepSeek-AI 2024, arXiv 2405.04434): only experts of
  // the `groups_chosen` groups whose best `group_best` scores sum highest.
  int64_t groups = 1;
  int64_t groups_chosen = 1;
  int64_t group_best = 1;
  bool normalise = false;  // weights of a token sum to `scale`
  double scale = 1;        // of the weights
};

// The experts of N tokens, k each.
struct Routing {
  std::vector<int32_t> experts;  // [N, k], ascending in each row
  Tensor weights;                // [N, k]
};

// Routes by logits [N, E]. `bias` [E], when given, is added to the scores for
// the choice alone and gets no gradient (DeepSeek-V3, arXiv 2412.19437, eq.
// 16). Scores are computed in double; equal ones go to the lower index. A
// token's routing depends on its row only.
Routing Route(const Tensor& logits, const RouterOptions& options,
              const Tensor& bias = {});

// Sum over a token's experts, in the order of their indices, of its weight
// times run(expert, the rows of x [N, D] that chose it) -> [N, D].
Tensor MixExperts(
    const Tensor& x, const Routing& routing, int64_t experts,
    const std::function<Tensor(int64_t expert, const Tensor& rows)>& run);

}  // namespace align
