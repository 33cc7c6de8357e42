#include "align/ops/cached_attention.h"

#include <algorithm>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/base/threads.h"
#include "align/kernels/attention.h"
#include "align/ops/asking_rows.h"

namespace align {
namespace {

using kernels::Pointers;

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
  // The new rows, at their positions.
  Segment NewRows() const {
    return {.begin = sequence.begin,
            .length = sequence.rows,
            .position = positions() - sequence.rows};
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

// What a unit of work reads; kept by the thread that runs it.
struct Workspace {
  Pointers keys, values;
  kernels::TurnedTiles key_tiles;
  kernels::AttentionScratch scratch;
};

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

void AttendCached(const CachedHeads& heads, const AskingRows& asking,
                  const Tensor& q, float* out) {
  const Segment rows = heads.NewRows();
  if (asking.Range(rows, heads.begin, heads.shape).rows == 0) return;
  thread_local Workspace work;
  const kernels::HeadRule rule = HeadRuleOf(heads.shape);
  Gather(heads, work);
  if (!heads.tiled()) {
    work.key_tiles.Assign(work.keys, rule.dim, Precision::kF32);
  }
  const Pointers& tiles = heads.tiled() ? work.keys : work.key_tiles.pointers();
  for (int64_t head = heads.begin; head < heads.end; ++head) {
    AttendRange(asking.Range(rows, head, heads.shape), q.data(), tiles,
                work.values, rule, work.scratch, out);
    for (const float*& tile : work.keys) tile += heads.k_words();
    for (const float*& row : work.values) row += heads.v_words();
  }
}

}  // namespace

Tensor CachedAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                       const std::vector<CachedQueries>& sequences,
                       const AttentionShape& shape,
                       std::span<const int32_t> asking) {
  const ProfileScope scope("CachedAttention");
  const AskingRows askers(k.dim(0), asking);
  ALIGN_CHECK(q.dim(0) == askers.count())
      << "[CachedAttention] q " << ToString(q.shape()) << " for "
      << askers.count() << " of " << askers.rows() << " rows";
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
    const QueryRange range = askers.Range(heads.NewRows(), 0, shape);
    ProfileScope::AddWork(ProductFlops(range.VisibleKeys(), 1, 1, shape),
                          4.0 * static_cast<double>(heads.words()));
  }
  ProfileScope::AddFloats(q.size() + out.size());
  ParallelFor(count * parts, [&](int64_t unit) {
    const int64_t first = unit % parts * step;
    const CachedHeads heads = {sequences[unit / parts], shape, first,
                               first + step};
    Store(heads, k.data(), v.defined() ? v.data() : nullptr);
    AttendCached(heads, askers, q, out.data());
  });
  return out;
}

}  // namespace align
