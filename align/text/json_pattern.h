#pragma once

// Internal to align/text: the patterns of tokenizer.json, {"String": ...} or
// {"Regex": ...}.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "align/base/status.h"
#include "align/text/json_node.h"
#include "align/text/regex.h"

namespace align {

// A literal text or a regular expression. Immutable.
class JsonPattern {
 public:
  // Reads the object; kInvalidArgument or kUnimplemented name where it stands.
  static absl::StatusOr<JsonPattern> Parse(const JsonNode& node);
  static absl::StatusOr<JsonPattern> OfRegex(const std::string& regex);
  static JsonPattern OfLiteral(std::string literal);

  // `text` with every match replaced by `content`, which is taken literally.
  std::string ReplaceAll(std::string_view text, std::string_view content) const;

  // One text's matches, in order. The pattern must outlive it.
  class Matcher {
   public:
    explicit Matcher(const JsonPattern& pattern);
    // As RegexMatcher::Find.
    bool Find(std::string_view text, size_t from, size_t* begin, size_t* end);

   private:
    const JsonPattern& pattern_;
    std::optional<RegexMatcher> regex_;
  };

 private:
  JsonPattern() = default;
  std::string literal_;  // not empty, unless there is a regex
  std::optional<Regex> regex_;
};

}  // namespace align
