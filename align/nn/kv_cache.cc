#include "align/nn/kv_cache.h"

#include <algorithm>

#include "align/base/check.h"

namespace align {

KvCache::KvCache(int64_t layers, int64_t key_width, int64_t value_width)
    : layers_(layers), key_width_(key_width), value_width_(value_width) {}

int32_t KvCache::AddSequence(int64_t capacity, int32_t parent) {
  const auto free = std::find_if(sequences_.begin(), sequences_.end(),
                                 [](const Sequence& s) { return !s.used; });
  const int32_t index = static_cast<int32_t>(free - sequences_.begin());
  if (free == sequences_.end()) sequences_.emplace_back();
  Sequence sequence;
  sequence.used = true;
  sequence.parent = parent;
  sequence.capacity = capacity;
  sequence.storage =
      Tensor::Empty({layers_, capacity, key_width_ + value_width_});
  if (parent >= 0) {
    ALIGN_CHECK(sequences_[parent].used) << "[KvCache] parent was released";
    sequence.parent_length = length(parent);
    ++sequences_[parent].children;
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

const float* KvCache::Keys(const Sequence& s, int64_t layer) const {
  return s.storage.data() + layer * s.capacity * (key_width_ + value_width_);
}

const float* KvCache::Values(const Sequence& s, int64_t layer) const {
  if (value_width_ == 0) return Keys(s, layer);
  return Keys(s, layer) + s.capacity * key_width_;
}

float* KvCache::NewKeys(int64_t layer, int32_t sequence) {
  const Sequence& s = sequences_[sequence];
  return const_cast<float*>(Keys(s, layer)) + s.rows * key_width_;
}

float* KvCache::NewValues(int64_t layer, int32_t sequence) {
  const Sequence& s = sequences_[sequence];
  return const_cast<float*>(Values(s, layer)) + s.rows * value_width_;
}

std::vector<KeySpan> KvCache::Spans(int64_t layer, int32_t sequence,
                                    int64_t new_rows) const {
  std::vector<KeySpan> spans;
  int64_t rows = sequences_[sequence].rows + new_rows;
  for (int32_t i = sequence; i >= 0; i = sequences_[i].parent) {
    const Sequence& s = sequences_[i];
    ALIGN_CHECK(rows <= s.capacity)
        << "[KvCache] " << rows << " rows in a sequence of " << s.capacity;
    spans.push_back({.k = Keys(s, layer), .v = Values(s, layer), .rows = rows});
    if (s.parent >= 0) rows = sequences_[s.parent].rows;
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
