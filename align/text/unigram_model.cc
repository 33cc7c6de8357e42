#include "align/text/unigram_model.h"

#include <algorithm>
#include <utility>

#include "align/text/utf8.h"

namespace align {
namespace {

constexpr double kUnknownPenalty = 10;

ByteTrie MakeTrie(const std::vector<UnigramModel::Piece>& pieces) {
  std::vector<std::pair<std::string, int32_t>> entries;
  entries.reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    entries.emplace_back(pieces[i].text, static_cast<int32_t>(i));
  }
  return ByteTrie(std::move(entries));
}

}  // namespace

UnigramModel::UnigramModel(std::vector<Piece> pieces, double lowest_score,
                           Sums sums)
    : pieces_(std::move(pieces)),
      trie_(MakeTrie(pieces_)),
      unknown_score_(lowest_score - kUnknownPenalty),
      sums_(sums) {
  if (sums_ == Sums::kFloat) {
    unknown_score_ =
        static_cast<float>(lowest_score) - static_cast<float>(kUnknownPenalty);
  }
}

std::vector<UnigramPiece> UnigramModel::Segment(std::string_view text) const {
  return sums_ == Sums::kFloat ? Viterbi<float>(text) : Viterbi<double>(text);
}

template <typename Sum>
std::vector<UnigramPiece> UnigramModel::Viterbi(std::string_view text) const {
  struct Node {  // the best path that ends here
    Sum score = 0;
    int32_t id = -1;
    size_t begin = std::string_view::npos;  // of its last piece
  };
  std::vector<Node> nodes(text.size() + 1);
  for (size_t at = 0; at < text.size();) {
    const Sum here = nodes[at].score;
    const size_t character =
        std::max<size_t>(1, Utf8CharacterLength(text.substr(at)));
    // SentencePiece compares a piece's double sum with the float that it
    // stored, but an unknown character's is a float itself.
    const auto offer = [&](size_t length, double score, int32_t id) {
      Node& node = nodes[at + length];
      double sum = score + static_cast<double>(here);
      if (id < 0) sum = static_cast<Sum>(sum);
      if (node.begin == std::string_view::npos ||
          sum > static_cast<double>(node.score)) {
        node = {static_cast<Sum>(sum), id, at};
      }
    };
    bool has_single = false;
    trie_.ForEachPrefix(text.substr(at), [&](size_t length, int32_t index) {
      offer(length, pieces_[index].score, pieces_[index].id);
      has_single |= length == character;
    });
    if (!has_single) offer(character, unknown_score_, -1);
    at += character;
  }
  std::vector<UnigramPiece> path;
  for (size_t end = text.size(); end > 0; end = nodes[end].begin) {
    const size_t begin = nodes[end].begin;
    path.push_back({text.substr(begin, end - begin), nodes[end].id});
  }
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace align
