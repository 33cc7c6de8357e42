#pragma once

// Internal to align/text: the normalizer of a tokenizer.json.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"
#include "align/text/json_node.h"
#include "align/text/json_pattern.h"
#include "align/text/sentencepiece_normalizer.h"
#include "align/text/text_position.h"
#include "align/text/unicode.h"

namespace align {

// A sequence of rewritings of a text. Immutable. Takes NFC, NFD, NFKC, NFKD,
// Lowercase, StripAccents, Strip, Replace, Prepend, Precompiled and Sequence.
class JsonNormalizer {
 public:
  JsonNormalizer() = default;  // changes nothing
  // kUnimplemented names a type or option that is not supported.
  static absl::StatusOr<JsonNormalizer> Parse(const JsonNode& node);

  bool empty() const { return steps_.empty(); }

  // The normalised text: `text` itself, or a view into `buffer`. Prepend puts
  // nothing before a continuation.
  std::string_view Apply(std::string_view text, TextPosition position,
                         std::string& buffer) const;

 private:
  enum class Kind {
    kForm,
    kLowercase,
    kStripAccents,
    kStrip,
    kReplace,
    kPrepend,
    kPrecompiled
  };
  struct Step {
    Kind kind;
    UnicodeForm form = UnicodeForm::kNfc;
    bool left = false, right = false;                 // kStrip
    std::string text;                                 // kReplace, kPrepend
    std::optional<JsonPattern> pattern;               // kReplace
    std::optional<SentencePieceNormalizer> charsmap;  // kPrecompiled
  };

  absl::Status Add(const JsonNode& node);
  absl::Status AddReplace(const JsonNode& node);
  absl::Status AddStrip(const JsonNode& node);
  absl::Status AddPrecompiled(const JsonNode& node);
  static std::string Run(const Step& step, std::string_view text);

  std::vector<Step> steps_;
};

}  // namespace align
