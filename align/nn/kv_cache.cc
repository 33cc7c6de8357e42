#include "align/nn/kv_cache.h"

#include <algorithm>

#include "align/base/check.h"

namespace align {

KvCache::KvCache(int64_t layers, const CacheRow& row)
    : layers_(layers),
      row_(row),
      step_(row.value_dim > 0 ? kTilePositions : 1) {
  const bool bf16 = row.precision == Precision::kBf16;
  ALIGN_CHECK(step_ > 1 || !bf16) << "[KvCache] rows in bf16";
  key_floats_ = step_ * row.key_width();
  value_floats_ = step_ * row.value_width() / (bf16 ? 2 : 1);
}

int64_t KvCache::Steps(const Sequence& s) const {
  return (s.parent_length + s.capacity - s.first + step_ - 1) / step_;
}

KeySpan KvCache::Span(Sequence& s, int64_t layer, int64_t rows) const {
  const int64_t steps = Steps(s);
  float* k = s.storage.data() + layer * steps * (key_floats_ + value_floats_);
  return {.k = k,
          .v = value_floats_ > 0 ? k + steps * key_floats_ : nullptr,
          .rows = rows};
}

void KvCache::CopyLastTile(Sequence& from, Sequence& to) const {
  const int64_t skipped = (to.first - from.first) / step_;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const KeySpan old = Span(from, layer, 0), copy = Span(to, layer, 0);
    std::copy_n(old.k + skipped * key_floats_, key_floats_, copy.k);
    std::copy_n(old.v + skipped * value_floats_, value_floats_, copy.v);
  }
}

int32_t KvCache::AddSequence(int64_t capacity, int32_t parent) {
  const auto free = std::find_if(sequences_.begin(), sequences_.end(),
                                 [](const Sequence& s) { return !s.used; });
  const int32_t index = static_cast<int32_t>(free - sequences_.begin());
  if (free == sequences_.end()) sequences_.emplace_back();
  Sequence sequence;
  sequence.used = true;
  sequence.parent = parent;
  sequence.capacity = capacity;
  if (parent >= 0) {
    ALIGN_CHECK(sequences_[parent].used) << "[KvCache] parent was released";
    sequence.parent_length = length(parent);
    ++sequences_[parent].children;
  }
  sequence.first = sequence.parent_length / step_ * step_;
  sequence.storage =
      Tensor::Empty({layers_, Steps(sequence), key_floats_ + value_floats_});
  if (sequence.first < sequence.parent_length) {
    CopyLastTile(sequences_[parent], sequence);
  }
  sequences_[index] = std::move(sequence);
  return index;
}

void KvCache::Release(int32_t sequence) {
  Sequence& s = sequences_[sequence];
  ALIGN_CHECK(s.used && s.children == 0)
      << "[KvCache] release of sequence " << sequence << " with " << s.children
      << " children";
  if (s.parent >= 0) --sequences_[s.parent].children;
  s = Sequence();
}

int64_t KvCache::length(int32_t sequence) const {
  return sequences_[sequence].parent_length + sequences_[sequence].rows;
}

std::vector<KeySpan> KvCache::Spans(int64_t layer, int32_t sequence,
                                    int64_t new_rows) {
  std::vector<KeySpan> spans;
  const Sequence& last = sequences_[sequence];
  ALIGN_CHECK(last.rows + new_rows <= last.capacity)
      << "[KvCache] " << last.rows + new_rows << " rows in a sequence of "
      << last.capacity;
  int64_t end = length(sequence) + new_rows;
  for (int32_t i = sequence; i >= 0; i = sequences_[i].parent) {
    Sequence& s = sequences_[i];
    if (end > s.first) spans.push_back(Span(s, layer, end - s.first));
    end = std::min(end, s.first);
  }
  std::reverse(spans.begin(), spans.end());
  return spans;
}

void KvCache::Advance(int32_t sequence, int64_t rows) {
  Sequence& s = sequences_[sequence];
  ALIGN_CHECK(s.children == 0 && s.rows + rows <= s.capacity)
      << "[KvCache] advance by " << rows << " of " << s.rows << " rows in "
      << s.capacity << " with " << s.children << " children";
  s.rows += rows;
}

int64_t KvCache::bytes() const {
  int64_t total = 0;
  for (const Sequence& s : sequences_) {
    if (s.used) total += s.storage.size() * int64_t{sizeof(float)};
  }
  return total;
}

}  // namespace align
