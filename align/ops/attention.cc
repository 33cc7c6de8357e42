#include "align/kernels/attention.h"

#include <algorithm>
#include <vector>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/base/threads.h"
#include "align/ops/asking_rows.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

using kernels::kQueryBlock;
using kernels::Pointers;

// Keys, values and scratch of one unit of work; kept by the thread that runs
// it, so that a steady step allocates nothing.
struct Workspace {
  Pointers keys, values;
  kernels::TurnedTiles key_tiles, value_tiles;
  kernels::ProductVectors key_vectors, value_vectors;
  kernels::AttentionScratch scratch;
};

// Pointers to the rows of a segment's whole chain at one key/value head.
template <class T>
void ChainRows(const Segments& segments, int32_t segment, T* base,
               int64_t width, int64_t offset, std::vector<T*>& rows) {
  rows.clear();
  for (int32_t s : segments.Chain(segment)) {
    for (int64_t i = 0; i < segments[s].length; ++i) {
      rows.push_back(base + (segments[s].begin + i) * width + offset);
    }
  }
}

void CheckShapes(const Tensor& q, const Tensor& k, const Tensor& v,
                 const AskingRows& asking, const AttentionShape& shape) {
  const int64_t rows = asking.rows();
  ALIGN_CHECK(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0 &&
              q.shape() ==
                  Shape({asking.count(), shape.heads * shape.head_dim}) &&
              k.shape() == Shape({rows, shape.kv_heads * shape.head_dim}) &&
              v.shape() == Shape({rows, shape.kv_heads * shape.ValueDim()}))
      << "[Attention] q " << ToString(q.shape()) << ", k "
      << ToString(k.shape()) << ", v " << ToString(v.shape()) << " for "
      << asking.count() << " of " << rows << " rows, " << shape.heads
      << " heads, " << shape.kv_heads << " kv heads of " << shape.head_dim
      << " and " << shape.ValueDim();
}

struct AttentionInputs {
  Tensor q, k, v;
  Tensor out;  // without history
  Segments segments;
  AskingRows asking;
  AttentionShape shape;
};

// Calls body(item, kv_head) for all of both. Heads that share cache lines are
// one unit of work: threads would take the lines from each other.
template <class Body>
void ForHeads(int64_t items, const AttentionShape& shape, const Body& body) {
  constexpr int64_t kApart = 32;  // floats, of the two lines fetched together
  const int64_t heads = shape.kv_heads;
  const int64_t together = std::clamp<int64_t>(
      kApart / std::min(shape.head_dim, shape.ValueDim()), 1, heads);
  const int64_t parts = (heads + together - 1) / together;
  ParallelFor(items * parts, [&](int64_t unit) {
    const int64_t first = unit % parts * together;
    const int64_t end = std::min(heads, first + together);
    for (int64_t head = first; head < end; ++head) body(unit / parts, head);
  });
}

double VisibleKeys(const Segments& segments, const AskingRows& asking,
                   const AttentionShape& shape) {
  double visible = 0;
  for (int32_t s = 0; s < segments.count(); ++s) {
    visible += asking.Range(segments[s], 0, shape).VisibleKeys();
  }
  return visible;
}

// Adds the gradients of one tree of segments at one key/value head. Trees share
// no rows and heads no columns, so units may run in any order.
void BackwardTree(const AttentionInputs& in, const float* grad, int32_t root,
                  const std::vector<int32_t>& roots, int64_t kv_head, float* dq,
                  float* dk, float* dv) {
  thread_local Workspace work;
  const Segments& segments = in.segments;
  const kernels::HeadRule rule = HeadRuleOf(in.shape);
  const int64_t dim = rule.dim, value_dim = rule.value_dim;
  const int64_t k_width = in.shape.kv_heads * dim;
  const int64_t v_width = in.shape.kv_heads * value_dim;
  const int64_t k_offset = kv_head * dim, v_offset = kv_head * value_dim;
  std::vector<float*> dk_rows, dv_rows;
  for (int32_t s = root; s < segments.count(); ++s) {
    if (roots[s] != root) continue;
    const QueryRange range = in.asking.Range(segments[s], kv_head, in.shape);
    if (range.rows == 0) continue;
    ChainRows(segments, s, in.k.data(), k_width, k_offset, work.keys);
    ChainRows(segments, s, in.v.data(), v_width, v_offset, work.values);
    ChainRows(segments, s, dk, k_width, k_offset, dk_rows);
    ChainRows(segments, s, dv, v_width, v_offset, dv_rows);
    work.key_tiles.Assign(work.keys, dim, Precision::kF32);
    work.value_tiles.Assign(work.values, value_dim, rule.precision);
    work.key_vectors.Assign(work.keys, dim, rule.precision);
    const kernels::KeyGradients rows = {
        .keys = &work.key_vectors.pointers(), .dk = &dk_rows, .dv = &dv_rows};
    for (int64_t first = 0; first < range.count(); first += kQueryBlock) {
      const kernels::QueryBlock block = range.Block(in.q.data(), dim, first);
      kernels::BlockGradients gradients;
      for (int64_t i = 0; i < block.count; ++i) {
        const int64_t at = range.Offset(first + i, value_dim);
        gradients.out[i] = in.out.data() + at;
        gradients.dout[i] = grad + at;
        gradients.dq[i] = dq + range.Offset(first + i, dim);
      }
      kernels::BackwardBlock(block, gradients, work.key_tiles.pointers(),
                             work.value_tiles.pointers(), rows, rule,
                             work.scratch);
    }
    kernels::FinishBackward(rows, rule, work.scratch);
  }
}

void BackwardAttention(const AttentionInputs& in, const float* grad) {
  // A constant input's gradient goes to a scratch buffer.
  std::vector<Tensor> unwanted;
  const auto gradient = [&](const Tensor& input) {
    if (input.requires_grad()) return input.grad();
    unwanted.push_back(Tensor::Zeros(input.shape()));
    return unwanted.back().data();
  };
  float* dq = gradient(in.q);
  float* dk = gradient(in.k);
  float* dv = gradient(in.v);
  const std::vector<int32_t> roots = in.segments.Roots();
  std::vector<int32_t> trees;
  for (int32_t s = 0; s < in.segments.count(); ++s) {
    if (roots[s] == s) trees.push_back(s);
  }
  // Scores again, gradients of queries and keys; of probabilities and values.
  ProfileScope::AddWork(
      ProductFlops(VisibleKeys(in.segments, in.asking, in.shape), 3, 2,
                   in.shape),
      4.0 *
          (3 * (in.q.size() + in.k.size() + in.v.size()) + 2 * in.out.size()));
  ForHeads(static_cast<int64_t>(trees.size()), in.shape,
           [&](int64_t tree, int64_t kv_head) {
             BackwardTree(in, grad, trees[tree], roots, kv_head, dq, dk, dv);
           });
}

}  // namespace

Tensor Attention(const Tensor& q, const Tensor& k, const Tensor& v,
                 const Segments& segments, const AttentionShape& shape,
                 std::span<const int32_t> asking) {
  const ProfileScope scope("Attention");
  const AskingRows askers(segments.rows(), asking);
  CheckShapes(q, k, v, askers, shape);
  const kernels::HeadRule rule = HeadRuleOf(shape);
  Tensor out = Tensor::Empty({q.dim(0), shape.heads * rule.value_dim});
  ForHeads(segments.count(), shape, [&](int64_t segment, int64_t kv_head) {
    thread_local Workspace work;
    const auto s = static_cast<int32_t>(segment);
    const QueryRange range = askers.Range(segments[s], kv_head, shape);
    if (range.rows == 0) return;
    ChainRows(segments, s, k.data(), k.dim(1), kv_head * rule.dim, work.keys);
    ChainRows(segments, s, v.data(), v.dim(1), kv_head * rule.value_dim,
              work.values);
    work.key_tiles.Assign(work.keys, rule.dim, Precision::kF32);
    work.value_vectors.Assign(work.values, rule.value_dim, rule.precision);
    AttendRange(range, q.data(), work.key_tiles.pointers(),
                work.value_vectors.pointers(), rule, work.scratch, out.data());
  });
  ProfileScope::AddWork(
      ProductFlops(VisibleKeys(segments, askers, shape), 1, 1, shape),
      4.0 * (q.size() + k.size() + v.size() + out.size()));
  const AttentionInputs inputs{.q = q,
                               .k = k,
                               .v = v,
                               .out = out.Detach(),
                               .segments = segments,
                               .asking = askers,
                               .shape = shape};
  return Record("Attention", out, {q, k, v}, [inputs](const float* grad) {
    BackwardAttention(inputs, grad);
  });
}

}  // namespace align
