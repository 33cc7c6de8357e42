#pragma once

#include <cstdint>
#include <vector>

#include "align/base/precision.h"
#include "align/ops/cached_attention.h"
#include "align/tensor/tensor.h"

namespace align {

// The exact row of one token in one layer.
struct CacheRow {
  int64_t kv_heads = 0;
  int64_t key_dim = 0;
  int64_t value_dim = 0;  // 0: rows of keys are those of values, too, in f32
  Precision precision = Precision::kF32;  // what values are kept in

  int64_t key_width() const { return kv_heads * key_dim; }
  int64_t value_width() const { return kv_heads * value_dim; }
};

// What a cache holds of a token: keys and values as attention reads them, or
// what multi-head latent attention makes them from.
enum class CacheMode { kExact, kAbsorbed };

// Keys and values of the tokens that sequences have seen so far, for every
// layer. A sequence may continue a parent (its prompt), whose rows are stored
// once for all children; as keys stand in whole tiles (cached_attention.h), a
// child begins with a copy of its parent's last one when that is not full. One
// thread at a time.
class KvCache {
 public:
  KvCache(int64_t layers, const CacheRow& row);

  const CacheRow& row() const { return row_; }
  // Of one token, in all layers.
  int64_t bytes_per_token() const {
    return layers_ * (key_floats_ + value_floats_) * int64_t{sizeof(float)} /
           step_;
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
    Tensor storage;     // a layer: keys, then values, of all steps
  };
  // That a sequence has room for in `storage`.
  int64_t Steps(const Sequence& s) const;
  KeySpan Span(Sequence& s, int64_t layer, int64_t rows) const;
  void CopyLastTile(Sequence& from, Sequence& to) const;

  int64_t layers_;
  CacheRow row_;
  int64_t step_;                       // positions: a tile, or one
  int64_t key_floats_, value_floats_;  // of a step
  std::vector<Sequence> sequences_;
};

}  // namespace align
