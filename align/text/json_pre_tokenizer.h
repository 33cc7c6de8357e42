#pragma once

// Internal to align/text: the pre-tokenizer of a tokenizer.json.

#include <absl/functional/function_ref.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"
#include "align/text/json_node.h"
#include "align/text/json_pattern.h"
#include "align/text/text_position.h"

namespace align {

// Cuts a text into the pieces that a model encodes one by one. Immutable. Takes
// Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace,
// WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer and Sequence.
class JsonPreTokenizer {
 public:
  JsonPreTokenizer() = default;  // cuts nothing
  // kUnimplemented names a type or option that is not supported.
  static absl::StatusOr<JsonPreTokenizer> Parse(const JsonNode& node);

  // Whether ByteLevel is the last step. The model then works on bytes, and
  // pieces stay as they are unless `UseAlphabet` was called.
  bool ends_in_bytes() const { return ends_in_bytes_; }
  // Makes the last step write the alphabet of byte_level.h too.
  void UseAlphabet();

  using Emit = absl::FunctionRef<void(std::string_view)>;

  // What a thread needs to cut texts; the pre-tokenizer must outlive it.
  class Cutter {
   public:
    explicit Cutter(const JsonPreTokenizer& pre_tokenizer);
    // Calls `emit` with each piece, none empty, valid during the call.
    void Cut(std::string_view text, TextPosition position, Emit emit);

   private:
    void Run(size_t step, std::string_view text, TextPosition position,
             Emit emit);
    void CutAt(size_t step, std::string_view text, TextPosition position,
               Emit emit);
    const JsonPreTokenizer& owner_;
    std::vector<std::optional<JsonPattern::Matcher>> matchers_;  // by step
  };

 private:
  enum class Rewrite {
    kNone,
    kPrefixSpace,  // a space before a text that has none
    kMetaspace,    // spaces become `mark`
    kByteAlphabet  // bytes become the alphabet of byte_level.h
  };
  enum class Scheme { kNever, kFirst, kAlways };  // kMetaspace's own mark
  enum class Behavior {
    kIsolated,
    kRemoved,
    kContiguous,
    kMergedWithPrevious,
    kMergedWithNext
  };
  struct Step {
    Rewrite rewrite = Rewrite::kNone;
    std::string mark;
    Scheme scheme = Scheme::kNever;
    // What matches: a pattern, characters, or (neither) nothing.
    std::optional<JsonPattern> pattern;
    bool (*matches)(char32_t) = nullptr;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
  };

  absl::Status Add(const JsonNode& node);
  absl::Status AddSplit(const JsonNode& node);
  absl::Status AddByteLevel(const JsonNode& node);
  absl::Status AddMetaspace(const JsonNode& node);
  absl::Status AddCharacters(const JsonNode& node, const std::string& type);
  static absl::StatusOr<Behavior> ParseBehavior(const JsonNode& node);

  std::vector<Step> steps_;
  bool ends_in_bytes_ = false;
};

}  // namespace align
