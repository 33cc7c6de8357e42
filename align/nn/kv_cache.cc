#include "align/nn/kv_cache.h"

#include <algorithm>

#include "align/base/check.h"

namespace align {

KvCache::KvCache(int64_t layers, int64_t key_width, int64_t value_width)
    : layers_(layers), key_width_(key_width), value_width_(value_width) {}

int64_t KvCache::Room(const Sequence& s) const {
  const int64_t positions = s.parent_length + s.capacity - s.first;
  if (!tiled()) return positions;
  return (positions + kTilePositions - 1) / kTilePositions * kTilePositions;
}

KeySpan KvCache::Span(Sequence& s, int64_t layer, int64_t rows) const {
  const int64_t room = Room(s);
  float* k = s.storage.data() + layer * room * (key_width_ + value_width_);
  return {.k = k, .v = tiled() ? k + room * key_width_ : nullptr, .rows = rows};
}

void KvCache::CopyLastTile(Sequence& from, Sequence& to) const {
  const int64_t skipped = to.first - from.first;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const KeySpan old = Span(from, layer, 0), copy = Span(to, layer, 0);
    std::copy_n(old.k + skipped * key_width_, kTilePositions * key_width_,
                copy.k);
    std::copy_n(old.v + skipped * value_width_, kTilePositions * value_width_,
                copy.v);
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
  sequence.first =
      sequence.parent_length -
      (tiled() ? sequence.parent_length % kTilePositions : int64_t{0});
  sequence.storage =
      Tensor::Empty({layers_, Room(sequence), key_width_ + value_width_});
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
