#include "align/ops/token_divergence.h"

#include <memory>
#include <utility>
#include <vector>

#include "align/base/check.h"
#include "align/kernels/divergence.h"
#include "align/kernels/log_softmax.h"
#include "align/ops/head_chunks.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

// Everything about one call: R rows of each model, V labels.
struct Comparison {
  HeadChunks student, teacher;
  DivergenceOptions options;
  std::vector<kernels::DivergenceRow> rows;
  std::vector<kernels::DivergenceSums> sums;

  int64_t count() const { return student.count(); }
};

// First pass over the chunks: what turns logits into log-probabilities.
void Normalise(Comparison& c, bool keep) {
  std::vector<kernels::RowSums> student(c.count()), teacher(c.count());
  for (int64_t chunk = 0; chunk < c.student.chunks(); ++chunk) {
    const Tensor s = c.student.Logits(chunk), t = c.teacher.Logits(chunk);
    const int64_t n = s.dim(1);
    ForHeadRows(c.count(), [&](int64_t row) {
      kernels::AddChunk(s.data() + row * n, n, /*moments=*/false, student[row]);
      kernels::AddChunk(t.data() + row * n, n, /*moments=*/false, teacher[row]);
    });
    if (!keep) continue;
    c.student.Keep(s);
    c.teacher.Keep(t);
  }
  for (int64_t row = 0; row < c.count(); ++row) {
    c.rows.push_back({.beta = c.options.beta,
                      .student_log_sum_exp = student[row].LogSumExp(),
                      .teacher_log_sum_exp = teacher[row].LogSumExp()});
  }
}

// Second pass: the divergences' sums.
void Compare(Comparison& c) {
  c.sums.resize(c.count());
  for (int64_t chunk = 0; chunk < c.student.chunks(); ++chunk) {
    const Tensor s = c.student.Logits(chunk), t = c.teacher.Logits(chunk);
    const int64_t n = s.dim(1);
    ForHeadRows(c.count(), [&](int64_t row) {
      kernels::AddDivergence(c.rows[row], s.data() + row * n,
                             t.data() + row * n, n, c.sums[row]);
    });
  }
}

// Walks the chunks again; their kept logits are used up.
void BackwardDivergence(Comparison& c, const float* grad) {
  for (int64_t chunk = 0; chunk < c.student.chunks(); ++chunk) {
    Tensor dz = c.student.Logits(chunk);
    const Tensor t = c.teacher.Logits(chunk);
    c.student.Drop(chunk);
    float* const rows = dz.data();
    const int64_t n = t.dim(1);
    c.student.AddGradients(chunk, std::move(dz), [&](int64_t row) {
      kernels::DivergenceGradients(
          c.rows[row],
          {.divergence = grad[row],
           .from_student = c.sums[row].from_student,
           .temperature = static_cast<float>(c.options.temperature),
           .soft_cap = static_cast<float>(c.student.head().soft_cap)},
          t.data() + row * n, n, rows + row * n);
    });
    c.teacher.Drop(chunk);
  }
}

// The rows of `tokens`, in order.
Tensor RowsOf(const Tensor& hidden, std::span<const ScoredToken> tokens) {
  std::vector<int32_t> rows;
  for (const ScoredToken& token : tokens) rows.push_back(token.row);
  return GatherRows(hidden, rows);
}

}  // namespace

Tensor TokenDivergence(const HeadInput& student, const HeadInput& teacher,
                       std::span<const ScoredToken> tokens,
                       const DivergenceOptions& options) {
  const auto fits = [](const HeadInput& input) {
    return input.hidden.dim(1) == input.head.dim(1);
  };
  ALIGN_CHECK(fits(student) && fits(teacher) &&
              student.hidden.dim(0) == teacher.hidden.dim(0) &&
              student.head.dim(0) == teacher.head.dim(0))
      << "[TokenDivergence] student " << ToString(student.hidden.shape())
      << ", head " << ToString(student.head.shape()) << "; teacher "
      << ToString(teacher.hidden.shape()) << ", head "
      << ToString(teacher.head.shape());
  ALIGN_CHECK(options.temperature > 0 && options.beta >= 0 && options.beta <= 1)
      << "[TokenDivergence] temperature " << options.temperature << ", beta "
      << options.beta;
  const Tensor student_rows = RowsOf(student.hidden, tokens);
  Tensor teacher_rows;
  {
    const NoGrad constant;
    teacher_rows = RowsOf(teacher.hidden, tokens);
  }
  const auto comparison = std::make_shared<Comparison>(Comparison{
      .student = HeadChunks(student_rows, student.head, options.temperature),
      .teacher = HeadChunks(teacher_rows, teacher.head, options.temperature),
      .options = options,
      .rows = {},
      .sums = {}});
  Comparison& c = *comparison;
  Normalise(c, 2 * c.student.bytes() <= options.head_cache_mb << 20);
  Compare(c);
  Tensor values = Tensor::Empty({1, c.count()});
  for (int64_t row = 0; row < c.count(); ++row) {
    values.data()[row] =
        static_cast<float>(c.sums[row].Divergence(options.beta));
  }
  return Record("TokenDivergence", values, {student_rows, student.head},
                [comparison](const float* grad) {
                  BackwardDivergence(*comparison, grad);
                });
}

}  // namespace align
