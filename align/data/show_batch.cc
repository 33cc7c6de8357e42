#include "align/data/show_batch.h"

#include <cstdint>
#include <set>
#include <string_view>
#include <utility>

#include "align/base/check.h"
#include "align/text/utf8.h"

namespace align {
namespace {

void AppendEscapedByte(uint8_t byte, std::string* out) {
  constexpr char kHex[] = "0123456789ABCDEF";
  *out += "\\x";
  *out += kHex[byte >> 4];
  *out += kHex[byte & 15];
}

std::string Escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = Utf8CharacterLength(text);
    const uint8_t byte = static_cast<uint8_t>(text[0]);
    if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (byte == '\\') {
      out += "\\\\";
    } else if (length == 0 || byte < 0x20 || byte == 0x7F) {
      AppendEscapedByte(byte, &out);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

// (hidden row, sequence) of everything that is scored.
using ScoredRows = std::set<std::pair<int64_t, int32_t>>;

// Writes one segment's tokens. The bytes of neighbours are joined before they
// are escaped, because one character may take several byte tokens.
class SegmentText {
 public:
  explicit SegmentText(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void Append(int32_t id, bool scored) {
    if (scored != in_scored_) {
      Flush();
      text_ += scored ? "⟦" : "⟧";
      in_scored_ = scored;
    }
    const std::string piece = tokenizer_.DecodePiece(id);
    if (piece.empty()) {
      Flush();
      text_ += tokenizer_.PieceName(id);
    } else {
      bytes_ += piece;
    }
  }

  std::string Finish() {
    Flush();
    if (in_scored_) text_ += "⟧";
    return std::move(text_);
  }

 private:
  void Flush() {
    text_ += Escaped(bytes_);
    bytes_.clear();
  }

  const Tokenizer& tokenizer_;
  std::string text_;
  std::string bytes_;  // not escaped yet
  bool in_scored_ = false;
};

std::string Range(int64_t begin, int64_t length) {
  if (length == 0) return "none";
  std::string range = std::to_string(begin);
  range += '-';
  range += std::to_string(begin + length - 1);
  return range;
}

// `sequence` is -1 for a prompt; `note`, unless empty, follows it.
std::string ShowSegment(const PackedBatch& batch, int32_t index,
                        int32_t sequence, const std::string& note,
                        const ScoredRows& scored, const Tokenizer& tokenizer) {
  const Segment& segment = batch.segments[index];
  SegmentText text(tokenizer);
  int64_t scored_tokens = 0;
  // The row that predicts the next token.
  int64_t row = -1;
  if (segment.prefix >= 0) {
    const Segment& before = batch.segments[segment.prefix];
    row = before.begin + before.length - 1;
  }
  for (int64_t i = 0; i < segment.length; ++i) {
    const bool is_scored = scored.contains({row, sequence});
    scored_tokens += is_scored ? 1 : 0;
    row = segment.begin + i;
    text.Append(batch.tokens[row], is_scored);
  }
  std::string out = "segment " + std::to_string(index);
  if (sequence < 0) {
    out += ": prompt";
  } else {
    out += ": sequence " + std::to_string(sequence);
    if (!note.empty()) out += ", " + note + ",";
    out += " on segment " + std::to_string(segment.prefix);
  }
  out += ", positions " + Range(segment.position, segment.length);
  if (sequence >= 0) {
    out += ", scored " + std::to_string(scored_tokens);
    out += " of " + std::to_string(segment.length);
  }
  out += "\n  " + text.Finish() + "\n";
  return out;
}

}  // namespace

std::string ShowBatch(const PackedBatch& batch, const Tokenizer& tokenizer,
                      std::span<const std::string> notes) {
  ALIGN_CHECK(notes.empty() ||
              notes.size() == static_cast<size_t>(batch.sequences))
      << "[ShowBatch] " << notes.size() << " notes for " << batch.sequences
      << " sequences";
  ScoredRows scored;
  for (const ScoredToken& token : batch.scored) {
    scored.insert({token.row, token.sequence});
  }
  std::string out = "rows " + std::to_string(batch.rows());
  out += ", segments " + std::to_string(batch.segments.count());
  out += ", sequences " + std::to_string(batch.sequences);
  out += ", scored " + std::to_string(batch.scored.size()) + "\n";
  int32_t sequences = 0;
  for (int32_t i = 0; i < batch.segments.count(); ++i) {
    // Completions are numbered in the order in which they were appended.
    const bool is_prompt = batch.segments[i].prefix < 0;
    const int32_t sequence = is_prompt ? -1 : sequences++;
    out += ShowSegment(batch, i, sequence,
                       is_prompt || notes.empty() ? "" : notes[sequence],
                       scored, tokenizer);
  }
  return out;
}

}  // namespace align
