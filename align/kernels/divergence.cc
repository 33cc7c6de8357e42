#include "align/kernels/divergence.h"

#include <algorithm>

#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

// Eight labels of a row.
struct Probabilities {
  Float8 s, t;                        // student's and teacher's
  Float8 log_s_over_m, log_t_over_m;  // finite wherever s and t are above 0
};

class RowComparison {
 public:
  explicit RowComparison(const DivergenceRow& row)
      : beta_(row.beta),
        student_share_(Broadcast8(static_cast<float>(1 - row.beta))),
        teacher_share_(Broadcast8(static_cast<float>(row.beta))),
        student_log_sum_exp_(Broadcast8(row.student_log_sum_exp)),
        teacher_log_sum_exp_(Broadcast8(row.teacher_log_sum_exp)) {}

  // Of the scaled logits at `student` and `teacher`, of which `count` are left.
  Probabilities At(const float* student, const float* teacher,
                   int64_t count) const {
    const Float8 log_s = LoadUpTo8(student, count) - student_log_sum_exp_;
    const Float8 log_t = LoadUpTo8(teacher, count) - teacher_log_sum_exp_;
    Probabilities out{.s = Exp8(log_s), .t = Exp8(log_t)};
    for (int64_t i = count; i < 8; ++i) out.s[i] = out.t[i] = 0;
    Compare(log_t - log_s, out);
    return out;
  }

 private:
  // `gap` is log t - log s.
  void Compare(Float8 gap, Probabilities& out) const {
    const Float8 zero{};
    if (beta_ == 0) {
      out.log_s_over_m = zero;
      out.log_t_over_m = gap;
      return;
    }
    if (beta_ == 1) {
      out.log_s_over_m = -gap;
      out.log_t_over_m = zero;
      return;
    }
    // log m less the larger of log s and log t: no exponential overflows.
    const Int8 teacher_leads = gap > zero;
    const Float8 smaller = Exp8(teacher_leads ? -gap : gap);
    const Float8 top = teacher_leads ? teacher_share_ : student_share_;
    const Float8 other = teacher_leads ? student_share_ : teacher_share_;
    const Float8 log_m = Log8(Fma8(other, smaller, top));
    out.log_s_over_m = (teacher_leads ? -gap : zero) - log_m;
    out.log_t_over_m = (teacher_leads ? zero : gap) - log_m;
  }

  double beta_;
  Float8 student_share_, teacher_share_;
  Float8 student_log_sum_exp_, teacher_log_sum_exp_;
};

// p x, 0 where p is: x need not be finite there. NaN stays.
Float8 Weighted(Float8 p, Float8 x) { return p == Float8{} ? Float8{} : p * x; }

}  // namespace

double DivergenceSums::Divergence(double beta) const {
  if (beta == 0) return from_teacher;
  if (beta == 1) return from_student;
  return beta * from_teacher + (1 - beta) * from_student;
}

void AddDivergence(const DivergenceRow& row, const float* student,
                   const float* teacher, int64_t count, DivergenceSums& sums) {
  const RowComparison comparison(row);
  Float8 from_teacher[2] = {}, from_student[2] = {};
  int64_t lanes = 0;  // the two accumulators take turns
  for (int64_t i = 0; i < count; i += 8, lanes ^= 1) {
    const Probabilities p = comparison.At(student + i, teacher + i,
                                          std::min<int64_t>(8, count - i));
    from_teacher[lanes] += Weighted(p.t, p.log_t_over_m);
    from_student[lanes] += Weighted(p.s, p.log_s_over_m);
  }
  sums.from_teacher += TreeSum(from_teacher[0], from_teacher[1]);
  sums.from_student += TreeSum(from_student[0], from_student[1]);
}

void DivergenceGradients(const DivergenceRow& row, const DivergenceSeeds& seeds,
                         const float* teacher, int64_t count, float* student) {
  const RowComparison comparison(row);
  const double share = row.beta == 0 || row.beta == 1 ? 1 : 1 - row.beta;
  const Float8 factor = Broadcast8(
      static_cast<float>(share * seeds.divergence / seeds.temperature));
  const Float8 mean = Broadcast8(static_cast<float>(seeds.from_student));
  // d(tanh-capped logit) = 1 - (capped / cap)^2, with capped = z T.
  const float cap = seeds.soft_cap;
  const Float8 per_cap = Broadcast8(cap > 0 ? seeds.temperature / cap : 0);
  for (int64_t i = 0; i < count; i += 8) {
    const int64_t lanes = std::min<int64_t>(8, count - i);
    const Probabilities p = comparison.At(student + i, teacher + i, lanes);
    Float8 dz =
        row.beta == 0 ? p.s - p.t : Weighted(p.s, p.log_s_over_m - mean);
    const Float8 ratio = LoadUpTo8(student + i, lanes) * per_cap;
    dz = factor * dz * (Broadcast8(1.0f) - ratio * ratio);
    StoreUpTo8(student + i, dz, lanes);
  }
}

}  // namespace align::kernels
