#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"

namespace align {

// What SentencePiece does to a text before it looks for pieces: map characters
// (NFKC and the like, compiled into the model), treat spaces, escape them as
// U+2581. Source: sentencepiece 0.1.97, src/normalizer.cc. Immutable.
class SentencePieceNormalizer {
 public:
  struct Options {
    std::string charsmap;  // precompiled_charsmap; empty: identity
    bool add_dummy_prefix = true;
    bool remove_extra_whitespaces = true;
    bool escape_whitespaces = true;
    // Strings that are taken as they are.
    std::vector<std::string> verbatim;
  };

  // kInvalidArgument when the charsmap contradicts itself.
  static absl::StatusOr<SentencePieceNormalizer> Make(Options options);

  // The normalised text: UTF-8, malformed bytes each replaced by U+FFFD. With
  // `continuation` nothing is put before the text and a leading space stays.
  std::string Normalize(std::string_view text, bool continuation) const;

  // Length of the longest verbatim string that `text` starts with; 0 if there
  // is none.
  size_t VerbatimPrefix(std::string_view text) const;

  // What the shortest charsmap entry that `text` starts with maps to.
  std::optional<std::string_view> ShortestMapping(std::string_view text) const;

  bool add_dummy_prefix() const { return options_.add_dummy_prefix; }
  bool strips_leading_space() const {
    return options_.add_dummy_prefix || options_.remove_extra_whitespaces;
  }

 private:
  struct Replacement {
    std::string_view text;  // into the charsmap, the input, or a literal
    size_t consumed;        // bytes of the input, at least 1
  };

  SentencePieceNormalizer() = default;
  // What the start of `text` (not empty) becomes.
  Replacement Next(std::string_view text) const;
  // The longest charsmap entry that `text` starts with, or the shortest;
  // consumed 0 if none.
  enum class Entry { kLongest, kShortest };
  Replacement Lookup(std::string_view text, Entry wanted) const;
  std::string_view ReplacementText(uint32_t offset) const;

  Options options_;
  std::vector<uint32_t> trie_;     // double-array units (Darts-clone layout)
  size_t replacements_begin_ = 0;  // byte offset in the charsmap
};

}  // namespace align
