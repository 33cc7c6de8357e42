#pragma once

#include <cstdint>
#include <vector>

#include "align/ops/cached_attention.h"
#include "align/tensor/tensor.h"

namespace align {

// What a cache holds of a token: keys and values as attention reads them, or
// what multi-head latent attention makes them from.
enum class CacheMode { kExact, kAbsorbed };

// Keys and values of the tokens that sequences have seen so far, for every
// layer. A sequence may continue a parent (its prompt), whose rows are stored
// once for all children; as keys stand in whole tiles, a child begins with a
// copy of its parent's last one when that is not full. One thread at a time.
class KvCache {
 public:
  // Rows of `key_width` and `value_width` floats: kv_heads times the size of a
  // head's keys and values. Width 0: rows of keys are those of values, too.
  KvCache(int64_t layers, int64_t key_width, int64_t value_width);

  int64_t key_width() const { return key_width_; }
  int64_t value_width() const { return value_width_; }
  // Of one token, in all layers.
  int64_t bytes_per_token() const {
    return layers_ * (key_width_ + value_width_) * int64_t{sizeof(float)};
  }

  // A new sequence with room for `capacity` rows of its own after those of
  // `parent` (-1: none), which must not grow while it has children.
  int32_t AddSequence(int64_t capacity, int32_t parent = -1);
  // Frees a sequence without children; its index may be given out again.
  void Release(int32_t sequence);

  // Rows seen so far, parents included: the next token's position.
  int64_t length(int32_t sequence) const;
  // The stored rows of a layer in position order, and behind them the places of
  // `new_rows` that are not yet committed.
  std::vector<KeySpan> Spans(int64_t layer, int32_t sequence, int64_t new_rows);
  // Commits `rows` rows, written in every layer.
  void Advance(int32_t sequence, int64_t rows);

  // Bytes of keys and values held now.
  int64_t bytes() const;

 private:
  struct Sequence {
    bool used = false;
    int32_t parent = -1;
    int32_t children = 0;
    int64_t capacity = 0;
    int64_t rows = 0;
    int64_t parent_length = 0;
    int64_t first = 0;  // position in `storage`
    // A layer: keys of a multiple of 16 positions, then values; or keys of
    // `capacity` rows alone.
    Tensor storage;
  };
  bool tiled() const { return value_width_ > 0; }
  // Positions that a sequence has room for in `storage`.
  int64_t Room(const Sequence& s) const;
  KeySpan Span(Sequence& s, int64_t layer, int64_t rows) const;
  void CopyLastTile(Sequence& from, Sequence& to) const;

  int64_t layers_;
  int64_t key_width_;
  int64_t value_width_;
  std::vector<Sequence> sequences_;
};

}  // namespace align
