#include "align/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/base/threads.h"
#include "align/ops/cached_attention.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

using kernels::kQueryBlock;
using kernels::Pointers;

kernels::HeadRule Rule(const AttentionShape& shape) {
  const double scale = shape.scale > 0
                           ? shape.scale
                           : 1 / std::sqrt(static_cast<double>(shape.head_dim));
  return {.dim = shape.head_dim,
          .value_dim = shape.ValueDim(),
          .scale = static_cast<float>(scale),
          .soft_cap = static_cast<float>(shape.soft_cap),
          .precision = shape.precision};
}

// The query vectors that share one key/value head: vector i is head i % group
// of row i / group of the rows [begin, begin + rows) of q, the first of which
// stands at `position`.
struct QueryRange {
  int64_t begin, rows, position;
  int64_t kv_head, group, heads, window;
  // Where they are not neighbours: their rows in the batch.
  const int32_t* asking = nullptr;

  int64_t count() const { return rows * group; }
  int64_t Position(int64_t row) const {
    return position + (asking == nullptr ? row : asking[row] - asking[0]);
  }
  // Of vector i in rows of `heads` vectors of `dim` floats.
  int64_t offset(int64_t i, int64_t dim) const {
    return ((begin + i / group) * heads + kv_head * group + i % group) * dim;
  }
  kernels::QueryBlock Block(const float* q, int64_t dim, int64_t first) const {
    kernels::QueryBlock block;
    block.count = std::min(kQueryBlock, count() - first);
    for (int64_t i = 0; i < block.count; ++i) {
      block.q[i] = q + offset(first + i, dim);
      block.visible[i] = Position((first + i) / group) + 1;
      if (window > 0) {
        block.first[i] = std::max<int64_t>(0, block.visible[i] - window);
      }
    }
    return block;
  }
};

QueryRange MakeRange(int64_t begin, int64_t rows, int64_t position,
                     int64_t kv_head, const AttentionShape& shape) {
  return {.begin = begin,
          .rows = rows,
          .position = position,
          .kv_head = kv_head,
          .group = shape.heads / shape.kv_heads,
          .heads = shape.heads,
          .window = shape.window};
}

// The rows of a batch that ask: all, or those of a list in order.
class AskingRows {
 public:
  AskingRows(const Segments& segments, std::span<const int32_t> list)
      : segments_(segments), list_(list.begin(), list.end()) {
    const bool rising = std::ranges::adjacent_find(
                            list_, std::greater_equal<>()) == list_.end();
    ALIGN_CHECK(list_.empty() || (rising && list_.front() >= 0 &&
                                  list_.back() < segments.rows()))
        << "[Attention] asking rows " << list_.front() << " to " << list_.back()
        << " of " << segments.rows() << (rising ? "" : ", not rising");
  }

  const Segments& segments() const { return segments_; }
  int64_t count() const {
    return list_.empty() ? segments_.rows()
                         : static_cast<int64_t>(list_.size());
  }
  QueryRange Range(int32_t segment, int64_t kv_head,
                   const AttentionShape& shape) const {
    const Segment& s = segments_[segment];
    if (list_.empty()) {
      return MakeRange(s.begin, s.length, s.position, kv_head, shape);
    }
    const auto place = [&](int64_t row) {
      return std::lower_bound(list_.begin(), list_.end(), row) - list_.begin();
    };
    const int64_t begin = place(s.begin), end = place(s.begin + s.length);
    if (begin == end) return MakeRange(begin, 0, s.position, kv_head, shape);
    QueryRange range =
        MakeRange(begin, end - begin, s.position + list_[begin] - s.begin,
                  kv_head, shape);
    range.asking = list_.data() + begin;
    return range;
  }

 private:
  Segments segments_;
  std::vector<int32_t> list_;
};

// Keys, values and scratch of one unit of work; kept by the thread that runs
// it, so that a steady step allocates nothing.
struct Workspace {
  Pointers keys, values;
  kernels::TurnedTiles key_tiles, value_tiles;
  kernels::ProductVectors key_vectors, value_vectors;
  kernels::AttentionScratch scratch;
};

void AttendRange(const QueryRange& range, const float* q,
                 const Pointers& key_tiles, const Pointers& values,
                 const kernels::HeadRule& rule,
                 kernels::AttentionScratch& scratch, float* out) {
  for (int64_t first = 0; first < range.count(); first += kQueryBlock) {
    const kernels::QueryBlock block = range.Block(q, rule.dim, first);
    float sum[kQueryBlock];
    kernels::ScoreBlock(block, key_tiles, rule, scratch, sum);
    float* rows[kQueryBlock] = {};
    for (int64_t i = 0; i < block.count; ++i) {
      rows[i] = out + range.offset(first + i, rule.value_dim);
    }
    kernels::MixValues(block, values, rule, scratch, sum, rows);
  }
}

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
  const int64_t rows = asking.segments().rows();
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

// How many keys the rows see in all.
double VisibleKeys(const QueryRange& range) {
  double visible = 0;
  for (int64_t i = 0; i < range.rows; ++i) {
    const int64_t keys = range.Position(i) + 1;
    visible += static_cast<double>(
        range.window > 0 ? std::min(keys, range.window) : keys);
  }
  return visible;
}

// Operations of so many inner products of a query's and of a value's width, for
// every visible key and head.
double ProductFlops(double visible, int64_t of_queries, int64_t of_values,
                    const AttentionShape& shape) {
  return 2 * visible *
         static_cast<double>(shape.heads * (of_queries * shape.head_dim +
                                            of_values * shape.ValueDim()));
}

double VisibleKeys(const AskingRows& asking, const AttentionShape& shape) {
  double visible = 0;
  for (int32_t s = 0; s < asking.segments().count(); ++s) {
    visible += VisibleKeys(asking.Range(s, 0, shape));
  }
  return visible;
}

// Adds the gradients of one tree of segments at one key/value head. Trees share
// no rows and heads no columns, so units may run in any order.
void BackwardTree(const AttentionInputs& in, const float* grad, int32_t root,
                  const std::vector<int32_t>& roots, int64_t kv_head, float* dq,
                  float* dk, float* dv) {
  thread_local Workspace work;
  const Segments& segments = in.asking.segments();
  const kernels::HeadRule rule = Rule(in.shape);
  const int64_t dim = rule.dim, value_dim = rule.value_dim;
  const int64_t k_width = in.shape.kv_heads * dim;
  const int64_t v_width = in.shape.kv_heads * value_dim;
  const int64_t k_offset = kv_head * dim, v_offset = kv_head * value_dim;
  std::vector<float*> dk_rows, dv_rows;
  for (int32_t s = root; s < segments.count(); ++s) {
    if (roots[s] != root) continue;
    const QueryRange range = in.asking.Range(s, kv_head, in.shape);
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
        const int64_t at = range.offset(first + i, value_dim);
        gradients.out[i] = in.out.data() + at;
        gradients.dout[i] = grad + at;
        gradients.dq[i] = dq + range.offset(first + i, dim);
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
  const std::vector<int32_t> roots = in.asking.segments().Roots();
  std::vector<int32_t> trees;
  for (int32_t s = 0; s < in.asking.segments().count(); ++s) {
    if (roots[s] == s) trees.push_back(s);
  }
  // Scores again, gradients of queries and keys; of probabilities and values.
  ProfileScope::AddWork(
      ProductFlops(VisibleKeys(in.asking, in.shape), 3, 2, in.shape),
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
                 std::span<const int32_t> list) {
  const ProfileScope scope("Attention");
  const AskingRows asking(segments, list);
  CheckShapes(q, k, v, asking, shape);
  const kernels::HeadRule rule = Rule(shape);
  Tensor out = Tensor::Empty({q.dim(0), shape.heads * rule.value_dim});
  ForHeads(segments.count(), shape, [&](int64_t segment, int64_t kv_head) {
    thread_local Workspace work;
    const auto s = static_cast<int32_t>(segment);
    const QueryRange range = asking.Range(s, kv_head, shape);
    if (range.rows == 0) return;
    ChainRows(segments, s, k.data(), k.dim(1), kv_head * rule.dim, work.keys);
    ChainRows(segments, s, v.data(), v.dim(1), kv_head * rule.value_dim,
              work.values);
    work.key_tiles.Assign(work.keys, rule.dim, Precision::kF32);
    work.value_vectors.Assign(work.values, rule.value_dim, rule.precision);
    AttendRange(range, q.data(), work.key_tiles.pointers(),
                work.value_vectors.pointers(), rule, work.scratch, out.data());
  });
  ProfileScope::AddWork(ProductFlops(VisibleKeys(asking, shape), 1, 1, shape),
                        4.0 * (q.size() + k.size() + v.size() + out.size()));
  const AttentionInputs inputs{.q = q,
                               .k = k,
                               .v = v,
                               .out = out.Detach(),
                               .asking = asking,
                               .shape = shape};
  return Record("Attention", out, {q, k, v}, [inputs](const float* grad) {
    BackwardAttention(inputs, grad);
  });
}

namespace {

// Stretches of a cache up to this size are on their way to the processor's
// caches before they are used: at a new place the hardware takes long to see
// that they are a stream.
constexpr int64_t kAheadFloats = 1 << 14;

void ReadAhead(const float* begin, int64_t floats) {
  for (int64_t i = 0; floats <= kAheadFloats && i < floats; i += 16) {
    __builtin_prefetch(begin + i);
  }
}

// A sequence's stored keys and values at the key/value heads of one unit.
struct CachedHeads {
  const CachedQueries& sequence;
  const AttentionShape& shape;
  int64_t begin = 0, end = 0;  // of the heads

  bool tiled() const { return sequence.spans.back().v != nullptr; }
  // Positions of a stored vector of keys and of values, and words of one head's
  // vectors and of all.
  int64_t k_step() const { return tiled() ? kTilePositions : 1; }
  int64_t v_step() const { return shape.precision == Precision::kBf16 ? 2 : 1; }
  int64_t k_words() const { return k_step() * shape.head_dim; }
  int64_t v_words() const { return shape.ValueDim(); }
  int64_t k_width() const { return shape.kv_heads * k_words(); }
  int64_t v_width() const { return shape.kv_heads * v_words(); }
  int64_t positions() const {
    int64_t rows = 0;
    for (const KeySpan& span : sequence.spans) rows += span.rows;
    return rows;
  }
  int64_t words() const {
    return positions() * k_width() / k_step() +
           (tiled() ? positions() * v_width() / v_step() : 0);
  }
};

// Writes the new rows of k and v behind what is stored.
void Store(const CachedHeads& heads, const float* k, const float* v) {
  const CachedQueries& sequence = heads.sequence;
  const AttentionShape& shape = heads.shape;
  const KeySpan& span = sequence.spans.back();
  const int64_t dim = shape.head_dim, value_dim = shape.ValueDim();
  for (int64_t i = 0; i < sequence.rows; ++i) {
    const int64_t row = sequence.begin + i;
    const int64_t at = span.rows - sequence.rows + i;
    if (!heads.tiled()) {
      std::copy_n(k + row * dim, dim, span.k + at * dim);
      continue;
    }
    float* tile = span.k + at / kTilePositions * heads.k_width();
    float* values = span.v + at / heads.v_step() * heads.v_width();
    for (int64_t head = heads.begin; head < heads.end; ++head) {
      const float* key = k + (row * shape.kv_heads + head) * dim;
      kernels::TurnIntoTile(&key, 1, at % kTilePositions, dim,
                            tile + head * heads.k_words());
      const float* value = v + (row * shape.kv_heads + head) * value_dim;
      if (shape.precision == Precision::kBf16) {
        kernels::StoreInPairs(value, value_dim, at % 2 == 1,
                              values + head * value_dim);
      } else {
        std::copy_n(value, value_dim, values + head * value_dim);
      }
    }
  }
}

// What attention reads at the first of the heads: tiles of keys and vectors of
// values, or vectors that are both.
void Gather(const CachedHeads& heads, Workspace& work) {
  const auto add = [](float* stored, int64_t positions, int64_t step,
                      int64_t width, int64_t offset, Pointers& pointers) {
    const int64_t count = (positions + step - 1) / step;
    ReadAhead(stored, count * width);
    for (int64_t i = 0; i < count; ++i) {
      pointers.push_back(stored + i * width + offset);
    }
  };
  work.keys.clear();
  work.values.clear();
  for (const KeySpan& span : heads.sequence.spans) {
    add(span.k, span.rows, heads.k_step(), heads.k_width(),
        heads.begin * heads.k_words(), work.keys);
    if (!heads.tiled()) continue;
    add(span.v, span.rows, heads.v_step(), heads.v_width(),
        heads.begin * heads.v_words(), work.values);
  }
  if (!heads.tiled()) work.values = work.keys;
}

void AttendCached(const CachedHeads& heads, const Tensor& q, float* out) {
  thread_local Workspace work;
  const kernels::HeadRule rule = Rule(heads.shape);
  const CachedQueries& sequence = heads.sequence;
  Gather(heads, work);
  if (!heads.tiled()) {
    work.key_tiles.Assign(work.keys, rule.dim, Precision::kF32);
  }
  const Pointers& tiles = heads.tiled() ? work.keys : work.key_tiles.pointers();
  for (int64_t head = heads.begin; head < heads.end; ++head) {
    AttendRange(MakeRange(sequence.begin, sequence.rows,
                          heads.positions() - sequence.rows, head, heads.shape),
                q.data(), tiles, work.values, rule, work.scratch, out);
    for (const float*& tile : work.keys) tile += heads.k_words();
    for (const float*& row : work.values) row += heads.v_words();
  }
}

}  // namespace

Tensor CachedAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                       const std::vector<CachedQueries>& sequences,
                       const AttentionShape& shape) {
  const ProfileScope scope("CachedAttention");
  Tensor out = Tensor::Empty({q.dim(0), shape.heads * shape.ValueDim()});
  // Many sequences are one unit each, so that their rows are read once.
  const int64_t count = static_cast<int64_t>(sequences.size());
  const int64_t parts = count >= 2 * Threads() ? 1 : shape.kv_heads;
  const int64_t step = shape.kv_heads / parts;
  for (const CachedQueries& sequence : sequences) {
    const CachedHeads heads = {sequence, shape};
    ALIGN_CHECK(heads.tiled() ||
                (shape.kv_heads == 1 && shape.precision == Precision::kF32))
        << "[CachedAttention] rows of " << shape.kv_heads
        << " heads, or in bf16";
    const int64_t before = heads.positions() - sequence.rows;
    ProfileScope::AddWork(
        ProductFlops(VisibleKeys(MakeRange(0, sequence.rows, before, 0, shape)),
                     1, 1, shape),
        4.0 * static_cast<double>(heads.words()));
  }
  ProfileScope::AddFloats(q.size() + out.size());
  ParallelFor(count * parts, [&](int64_t unit) {
    const int64_t first = unit % parts * step;
    const CachedHeads heads = {sequences[unit / parts], shape, first,
                               first + step};
    Store(heads, k.data(), v.defined() ? v.data() : nullptr);
    AttendCached(heads, q, out.data());
  });
  return out;
}

}  // namespace align
