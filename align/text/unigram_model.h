#pragma once

// Internal to align/text: the unigram language model of SentencePiece.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "align/text/byte_trie.h"

namespace align {

// A stretch of the text and its id; -1 when there is no piece for it.
struct UnigramPiece {
  std::string_view text;
  int32_t id = -1;
};

// The segmentation of the highest summed score, by Viterbi. A character that is
// no piece of its own may stand as unknown, 10 below the lowest score. Source:
// Kudo 2018, and sentencepiece 0.1.97's unigram_model.cc (EncodeOptimized).
// O(n * longest piece). Immutable.
class UnigramModel {
 public:
  struct Piece {
    std::string text;  // not empty
    int32_t id;        // not negative
    double score;
  };
  // Bytes of a piece; longer ones would make the search quadratic. Readers
  // refuse them.
  static constexpr size_t kLongestPiece = 1024;
  // How sums are rounded: as SentencePiece, or as tokenizers does.
  enum class Sums { kFloat, kDouble };

  // `lowest_score` counts for unknown characters.
  UnigramModel(std::vector<Piece> pieces, double lowest_score, Sums sums);

  // The pieces of well-formed UTF-8 in order: views into `text`.
  std::vector<UnigramPiece> Segment(std::string_view text) const;

 private:
  template <typename Sum>
  std::vector<UnigramPiece> Viterbi(std::string_view text) const;

  std::vector<Piece> pieces_;
  ByteTrie trie_;  // texts to positions in pieces_
  double unknown_score_;
  Sums sums_;
};

}  // namespace align
