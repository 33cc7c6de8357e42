#pragma once

#include <cstdint>

namespace align::kernels {

// What is known of one row of two distributions s (student) and t (teacher),
// softmax of scaled logits: their log-sum-exps, and the weight of t in the
// mixture m = beta t + (1 - beta) s that they are compared with; m is s at 0
// and t at 1.
struct DivergenceRow {
  double beta = 0.5;
  float student_log_sum_exp = 0;
  float teacher_log_sum_exp = 0;
};

// What a pass over chunks of fixed places has summed of one row, in nats.
struct DivergenceSums {
  double from_teacher = 0;  // sum t log(t / m)
  double from_student = 0;  // sum s log(s / m)

  // beta KL(t, m) + (1 - beta) KL(s, m); at beta = 0 KL(t, s), at 1 KL(s, t).
  double Divergence(double beta) const;
};

// Takes one more chunk of scaled logits in. A probability that underflows to 0
// counts 0.
void AddDivergence(const DivergenceRow& row, const float* student,
                   const float* teacher, int64_t count, DivergenceSums& sums);

// One row's logit gradients of one chunk, in place of the student's scaled
// logits z: seed * d(divergence) / dz * dz / d(raw logit), where d / dz_v is
//   (1 - beta) s_v (log(s_v / m_v) - KL(s, m)),
// without the factor at beta = 1, and s_v - t_v at beta = 0.
struct DivergenceSeeds {
  float divergence = 0;
  double from_student = 0;  // of the whole row
  float temperature = 1;
  float soft_cap = 0;  // the student's
};
void DivergenceGradients(const DivergenceRow& row, const DivergenceSeeds& seeds,
                         const float* teacher, int64_t count, float* student);

}  // namespace align::kernels
