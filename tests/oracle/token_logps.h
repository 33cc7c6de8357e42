#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

#include "tests/oracle/json_values.h"

namespace align::oracle {

// Rows of logits [N, V] with a label each; what the scores of all rows are and
// what gradient by the logits a seed per row gives, two ways.
struct LabelledLogits {
  Eigen::ArrayXXd logits;       // [N, V]
  std::vector<int32_t> labels;  // [N]
};

struct RowScores {
  std::vector<double> log_probs, entropies;  // [N]
  std::vector<double> log_sum_squares;       // [N] log sum_v p_v^2
  std::vector<double> mean_logits;           // [N]
  std::vector<double> label_is_argmax;       // [N] 0 or 1
};

// Numbers of a JSON array [..., V], V being the size of the innermost arrays.
Eigen::ArrayXXd LogitRows(Json value);

// In double, by losses/log_softmax.h.
RowScores ScoreInDouble(const LabelledLogits& rows);
std::vector<double> GradientInDouble(const LabelledLogits& rows,
                                     const std::vector<double>& log_prob_seeds,
                                     const std::vector<double>& entropy_seeds);

// Through the fused f32 operation: the logits are the hidden rows and the head
// is the identity.
RowScores ScoreFused(const LabelledLogits& rows);
std::vector<double> GradientFused(const LabelledLogits& rows,
                                  const std::vector<double>& log_prob_seeds,
                                  const std::vector<double>& entropy_seeds);

}  // namespace align::oracle
