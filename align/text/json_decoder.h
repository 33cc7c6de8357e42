#pragma once

// Internal to align/text: the decoder of a tokenizer.json.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"
#include "align/text/json_node.h"
#include "align/text/json_pattern.h"

namespace align {

// Tokens back to text, each by itself but for what is stripped at the start of
// a text. Immutable. Takes ByteLevel, Metaspace, ByteFallback, Replace, Fuse,
// Strip (at the start) and Sequence.
class JsonDecoder {
 public:
  JsonDecoder() = default;  // texts are names
  // kUnimplemented names a type or option that is not supported.
  static absl::StatusOr<JsonDecoder> Parse(const JsonNode& node);

  // The bytes that a token stands for inside a text.
  std::string Piece(const std::string& name) const;
  // The same at the start of a text.
  std::string FirstPiece(const std::string& name) const;
  // Bytes to take from the start of a whole text.
  size_t StripLength(std::string_view text) const;

 private:
  enum class Kind { kByteLevel, kMetaspace, kByteFallback, kReplace };
  struct Step {
    Kind kind;
    std::optional<JsonPattern> pattern;  // kMetaspace, kReplace
    std::string text;                    // kReplace
    bool drops_first = false;            // kMetaspace
  };

  absl::Status Add(const JsonNode& node);
  absl::Status AddMetaspace(const JsonNode& node);
  absl::Status AddReplace(const JsonNode& node);
  absl::Status AddStrip(const JsonNode& node);
  std::string Run(std::string text, bool first) const;

  std::vector<Step> steps_;
  bool fused_ = false;
  std::string strip_;  // what is stripped, at most strip_count_ times
  int64_t strip_count_ = 0;
};

}  // namespace align
