#include "align/ops/asking_rows.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "align/base/check.h"

namespace align {

using kernels::kQueryBlock;

kernels::HeadRule HeadRuleOf(const AttentionShape& shape) {
  const double scale = shape.scale > 0
                           ? shape.scale
                           : 1 / std::sqrt(static_cast<double>(shape.head_dim));
  return {.dim = shape.head_dim,
          .value_dim = shape.ValueDim(),
          .scale = static_cast<float>(scale),
          .soft_cap = static_cast<float>(shape.soft_cap),
          .precision = shape.precision};
}

kernels::QueryBlock QueryRange::Block(const float* q, int64_t dim,
                                      int64_t first) const {
  kernels::QueryBlock block;
  block.count = std::min(kQueryBlock, count() - first);
  for (int64_t i = 0; i < block.count; ++i) {
    block.q[i] = q + Offset(first + i, dim);
    block.visible[i] = Position((first + i) / group) + 1;
    if (window > 0) {
      block.first[i] = std::max<int64_t>(0, block.visible[i] - window);
    }
  }
  return block;
}

double QueryRange::VisibleKeys() const {
  double visible = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t keys = Position(i) + 1;
    visible += static_cast<double>(window > 0 ? std::min(keys, window) : keys);
  }
  return visible;
}

AskingRows::AskingRows(int64_t rows, std::span<const int32_t> asking)
    : rows_(rows), asking_(asking.begin(), asking.end()) {
  if (asking_.empty()) return;
  const bool rising = std::ranges::adjacent_find(
                          asking_, std::greater_equal<>()) == asking_.end();
  ALIGN_CHECK(rising && asking_.front() >= 0 && asking_.back() < rows)
      << "[Attention] asking rows " << asking_.front() << " to "
      << asking_.back() << " of " << rows << (rising ? "" : ", not rising");
}

QueryRange AskingRows::Range(const Segment& segment, int64_t kv_head,
                             const AttentionShape& shape) const {
  QueryRange range = {.begin = segment.begin,
                      .rows = segment.length,
                      .position = segment.position,
                      .kv_head = kv_head,
                      .group = shape.heads / shape.kv_heads,
                      .heads = shape.heads,
                      .window = shape.window};
  if (asking_.empty()) return range;
  const auto first = std::ranges::lower_bound(asking_, segment.begin);
  const auto last =
      std::lower_bound(first, asking_.end(), segment.begin + segment.length);
  range.begin = first - asking_.begin();
  range.rows = last - first;
  if (range.rows == 0) return range;
  range.position += *first - segment.begin;
  range.asking = asking_.data() + range.begin;
  return range;
}

void AttendRange(const QueryRange& range, const float* q,
                 const kernels::Pointers& key_tiles,
                 const kernels::Pointers& values, const kernels::HeadRule& rule,
                 kernels::AttentionScratch& scratch, float* out) {
  for (int64_t first = 0; first < range.count(); first += kQueryBlock) {
    const kernels::QueryBlock block = range.Block(q, rule.dim, first);
    float sum[kQueryBlock];
    kernels::ScoreBlock(block, key_tiles, rule, scratch, sum);
    float* rows[kQueryBlock] = {};
    for (int64_t i = 0; i < block.count; ++i) {
      rows[i] = out + range.Offset(first + i, rule.value_dim);
    }
    kernels::MixValues(block, values, rule, scratch, sum, rows);
  }
}

double ProductFlops(double visible, int64_t of_queries, int64_t of_values,
                    const AttentionShape& shape) {
  return 2 * visible *
         static_cast<double>(shape.heads * (of_queries * shape.head_dim +
                                            of_values * shape.ValueDim()));
}

}  // namespace align
