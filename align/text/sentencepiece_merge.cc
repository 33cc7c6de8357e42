#include "align/text/sentencepiece_merge.h"

#include <algorithm>
#include <queue>

#include "align/text/utf8.h"

namespace align {
namespace {

absl::string_view AbslView(std::string_view text) {
  return {text.data(), text.size()};
}

// A piece of the text being merged, in a doubly linked list.
struct Symbol {
  std::string_view text;  // empty once merged into its left neighbour
  int32_t previous = -1;
  int32_t next = -1;
  bool frozen = false;  // user-defined: never merged
};

// A merge that was possible when it was queued.
struct Merge {
  float score;
  int32_t left;
  int32_t right;
  uint32_t size;  // bytes of the merged piece; a mismatch means it is stale

  // Highest score first; the leftmost among equals.
  bool operator<(const Merge& other) const {
    return score < other.score || (score == other.score && left > other.left);
  }
};

// The merging of one text.
class Merger {
 public:
  explicit Merger(const MergeTable& table) : table_(table) {}

  // Cuts `text` into characters and verbatim strings.
  void Split(std::string_view text, const SentencePieceNormalizer& normalizer) {
    symbols_.clear();
    symbols_.reserve(text.size());
    while (!text.empty()) {
      const size_t verbatim = normalizer.VerbatimPrefix(text);
      const size_t length =
          verbatim > 0 ? verbatim
                       : std::max<size_t>(1, Utf8CharacterLength(text));
      const int32_t index = static_cast<int32_t>(symbols_.size());
      symbols_.push_back({.text = text.substr(0, length),
                          .previous = index - 1,
                          .next = text.size() > length ? index + 1 : -1,
                          .frozen = verbatim > 0});
      text.remove_prefix(length);
    }
  }

  void Run() {
    for (int32_t i = 1; i < static_cast<int32_t>(symbols_.size()); ++i) {
      Consider(i - 1, i);
    }
    while (!queue_.empty()) {
      const Merge merge = queue_.top();
      queue_.pop();
      Symbol& left = symbols_[merge.left];
      Symbol& right = symbols_[merge.right];
      if (left.text.empty() || right.text.empty() ||
          left.text.size() + right.text.size() != merge.size) {
        continue;
      }
      left.text = std::string_view(left.text.data(), merge.size);
      left.next = right.next;
      if (right.next >= 0) symbols_[right.next].previous = merge.left;
      right.text = {};
      Consider(left.previous, merge.left);
      Consider(merge.left, left.next);
    }
  }

  // Calls emit(piece, id) for each resulting piece, in order; id -1: unknown.
  template <typename Emit>
  void ForEach(const Emit& emit) const {
    for (int32_t i = symbols_.empty() ? -1 : 0; i >= 0; i = symbols_[i].next) {
      Resegment(symbols_[i].text, emit);
    }
  }

 private:
  int32_t Id(std::string_view piece) const {
    const auto found = table_.ids.find(AbslView(piece));
    return found == table_.ids.end() ? -1 : found->second;
  }

  // Queues the merge of two neighbours if there is a piece for it.
  void Consider(int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Symbol& a = symbols_[left];
    const Symbol& b = symbols_[right];
    if (a.frozen || b.frozen) return;
    // Neighbours stand side by side in the text, so the pair is one view.
    const std::string_view joined(a.text.data(), a.text.size() + b.text.size());
    const int32_t id = Id(joined);
    if (id < 0) return;
    queue_.push(
        {table_.scores[id], left, right, static_cast<uint32_t>(joined.size())});
    if (table_.unused[id]) {
      parts_.try_emplace(AbslView(joined), a.text.size());
    }
  }

  // An unused piece helps merging but is not emitted: it is cut again, without
  // recursion, since a hostile model can nest such pieces without end.
  template <typename Emit>
  void Resegment(std::string_view piece, const Emit& emit) const {
    std::vector<std::string_view> stack;
    while (true) {
      const int32_t id = Id(piece);
      const auto parts = id >= 0 && table_.unused[id]
                             ? parts_.find(AbslView(piece))
                             : parts_.end();
      if (parts == parts_.end()) {
        emit(piece, id);
        if (stack.empty()) return;
        piece = stack.back();
        stack.pop_back();
      } else {
        stack.push_back(piece.substr(parts->second));
        piece = piece.substr(0, parts->second);
      }
    }
  }

  const MergeTable& table_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Merge> queue_;
  // Of an unused piece that a merge could make: bytes of its left part.
  absl::flat_hash_map<absl::string_view, size_t> parts_;
};

constexpr std::string_view kWordStart = "\xe2\x96\x81";  // U+2581

// Bytes up to the next word: starts, then anything up to another start.
size_t WordLength(std::string_view text) {
  size_t begin = 0;
  while (text.substr(begin, kWordStart.size()) == kWordStart) {
    begin += kWordStart.size();
  }
  return std::min(text.size(), text.find(kWordStart, begin));
}

// Merges words one by one, and copies the pieces of those it has seen.
class WordMerger {
 public:
  WordMerger(const MergeTable& table, const SentencePieceNormalizer& normalizer)
      : normalizer_(normalizer), merger_(table) {}

  void Append(std::string_view word, std::vector<MergedPiece>& pieces) {
    const auto [seen, is_new] =
        seen_.try_emplace(AbslView(word), Range{pieces.size(), 0});
    if (is_new) {
      merger_.Split(word, normalizer_);
      merger_.Run();
      merger_.ForEach([&pieces](std::string_view piece, int32_t id) {
        pieces.push_back({.text = piece, .id = id});
      });
      seen->second.end = pieces.size();
      return;
    }
    for (size_t i = seen->second.begin; i < seen->second.end; ++i) {
      const size_t size = pieces[i].text.size();
      pieces.push_back({.text = word.substr(0, size), .id = pieces[i].id});
      word.remove_prefix(size);
    }
  }

 private:
  // Of the pieces, where a word was merged.
  struct Range {
    size_t begin, end;
  };
  const SentencePieceNormalizer& normalizer_;
  Merger merger_;
  absl::flat_hash_map<absl::string_view, Range> seen_;
};

}  // namespace

bool MergesWithinWords(const MergeTable& table) {
  return std::ranges::count(table.unused, true) == 0 &&
         std::ranges::all_of(table.ids, [](const auto& piece) {
           return WordLength(piece.first) == piece.first.size();
         });
}

std::vector<MergedPiece> MergePieces(
    std::string_view text, const MergeTable& table,
    const SentencePieceNormalizer& normalizer) {
  std::vector<MergedPiece> pieces;
  pieces.reserve(text.size() / 3 + 1);
  WordMerger merger(table, normalizer);
  while (!text.empty()) {
    const size_t length = table.within_words ? WordLength(text) : text.size();
    merger.Append(text.substr(0, length), pieces);
    text.remove_prefix(length);
  }
  return pieces;
}

}  // namespace align
