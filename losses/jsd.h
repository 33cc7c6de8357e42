#pragma once

// Divergences between whole distributions of a teacher and a student, for
// distillation.

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "losses/options.h"

namespace align::losses {

struct JsdOptions {
  double beta = 0.5;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .high = 1},
                "weight of the teacher in the mixture; 0 is KL(teacher, "
                "student), 1 KL(student, teacher), as in TRL, where the "
                "divergence itself would be 0");
  }
};

struct JsdResult {
  Eigen::ArrayXd loss;       // [N], nats
  Eigen::ArrayXXd d_logits;  // [N, V] d sum(loss) / d student logits
};

// Generalised Jensen-Shannon divergence of N rows, with m = beta t +
// (1 - beta) s, t the teacher's and s the student's distribution:
//   beta KL(t, m) + (1 - beta) KL(s, m)
// Agarwal et al. 2023 (GKD, arXiv 2306.13649), eq. 1. Both inputs are rows of
// log softmax, [N, V]; a temperature has divided the logits before, and its
// chain rule is the caller's. With s = softmax(z), d / dz_v is
//   (1 - beta) s_v (log(s_v / m_v) - KL(s, m))
// and s - t at beta = 0. A probability of 0 counts 0.
inline JsdResult GeneralizedJsd(const Eigen::ArrayXXd& student_log_probs,
                                const Eigen::ArrayXXd& teacher_log_probs,
                                const JsdOptions& options = {}) {
  const double beta = options.beta;
  const Eigen::Index rows = student_log_probs.rows();
  JsdResult out{Eigen::ArrayXd::Zero(rows),
                Eigen::ArrayXXd::Zero(rows, student_log_probs.cols())};
  // log(beta e^a + (1 - beta) e^b), the larger exponent taken out.
  const auto mixture = [beta](double a, double b) {
    const double top = std::max(a, b);
    return top +
           std::log(beta * std::exp(a - top) + (1 - beta) * std::exp(b - top));
  };
  for (Eigen::Index i = 0; i < rows; ++i) {
    double from_teacher = 0, from_student = 0;  // KL(t, .), KL(s, .)
    for (Eigen::Index v = 0; v < student_log_probs.cols(); ++v) {
      const double log_s = student_log_probs(i, v);
      const double log_t = teacher_log_probs(i, v);
      const double s = std::exp(log_s), t = std::exp(log_t);
      if (s == 0 && t == 0) continue;
      const double log_m = beta == 0   ? log_s
                           : beta == 1 ? log_t
                                       : mixture(log_t, log_s);
      if (t > 0) from_teacher += t * (log_t - log_m);
      if (s > 0) from_student += s * (log_s - log_m);
      out.d_logits(i, v) = beta == 0 ? s - t : s > 0 ? s * (log_s - log_m) : 0;
    }
    if (beta == 0) {
      out.loss[i] = from_teacher;
      continue;
    }
    const double share = beta == 1 ? 1.0 : 1 - beta;
    out.loss[i] =
        (beta == 1 ? 0.0 : beta) * from_teacher + share * from_student;
    for (Eigen::Index v = 0; v < student_log_probs.cols(); ++v) {
      const double s = std::exp(student_log_probs(i, v));
      out.d_logits(i, v) = share * (out.d_logits(i, v) - s * from_student);
    }
  }
  return out;
}

}  // namespace align::losses
