#pragma once

// Internal to align/text: the merging at the heart of SentencePiece's BPE.

#include <absl/container/flat_hash_map.h>
#include <absl/strings/string_view.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "align/text/sentencepiece_normalizer.h"

namespace align {

// The pieces that text may become: never control, unknown or byte pieces.
struct MergeTable {
  absl::flat_hash_map<std::string, int32_t> ids;
  std::vector<float> scores;  // [V]
  std::vector<bool> unused;   // [V]; such a piece helps merging only
  // No merge reaches from one word into the next: see MergesWithinWords.
  bool within_words = false;
};

// Whether every piece is used and none has a word's start, U+2581, after
// anything but such starts. Then a text may be cut before each word.
bool MergesWithinWords(const MergeTable& table);

// A stretch of the text and its id; -1 when there is no piece for it.
struct MergedPiece {
  std::string_view text;
  int32_t id = -1;
};

// Cuts normalised `text` into characters (verbatim strings stay whole), merges
// the adjacent pair of the highest score, leftmost first among equals, until
// none is left, and returns the pieces in order: views into `text`.
// O(n log n) of a text, or of a word where merges stay within words; a word is
// then merged once, however often it stands in the text. Source: sentencepiece
// 0.1.97, src/bpe_model.cc.
std::vector<MergedPiece> MergePieces(std::string_view text,
                                     const MergeTable& table,
                                     const SentencePieceNormalizer& normalizer);

}  // namespace align
