#include "align/text/json_pattern.h"

#include <utility>

namespace align {

absl::StatusOr<JsonPattern> JsonPattern::Parse(const JsonNode& node) {
  std::string_view bare;
  if (!node.value.get(bare)) {
    if (!bare.empty()) return OfLiteral(std::string(bare));
    return InvalidArgument(node.where + ": a text that is not empty expected");
  }
  ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"String", "Regex"}));
  if (FindMember(node, "String")) {
    ALIGN_ASSIGN_OR_RETURN(std::string literal, StringMember(node, "String"));
    if (!literal.empty()) return OfLiteral(std::move(literal));
    return InvalidArgument(node.where + ": a text that is not empty expected");
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string regex, StringMember(node, "Regex"));
  auto pattern = OfRegex(regex);
  if (!pattern.ok()) return Annotate(pattern.status(), node.where);
  return pattern;
}

absl::StatusOr<JsonPattern> JsonPattern::OfRegex(const std::string& regex) {
  JsonPattern pattern;
  ALIGN_ASSIGN_OR_RETURN(pattern.regex_, Regex::Compile(regex));
  return pattern;
}

JsonPattern JsonPattern::OfLiteral(std::string literal) {
  JsonPattern pattern;
  pattern.literal_ = std::move(literal);
  return pattern;
}

std::string JsonPattern::ReplaceAll(std::string_view text,
                                    std::string_view content) const {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  Matcher matcher(*this);
  size_t done = 0, begin = 0, end = 0;
  while (matcher.Find(text, done, &begin, &end)) {
    out.append(text.data() + done, begin - done);
    out.append(content.data(), content.size());
    done = end;
  }
  out.append(text.data() + done, text.size() - done);
  return out;
}

JsonPattern::Matcher::Matcher(const JsonPattern& pattern) : pattern_(pattern) {
  if (pattern.regex_) regex_.emplace(*pattern.regex_);
}

bool JsonPattern::Matcher::Find(std::string_view text, size_t from,
                                size_t* begin, size_t* end) {
  if (regex_) return regex_->Find(text, from, begin, end);
  *begin = text.find(pattern_.literal_, from);
  if (*begin == std::string_view::npos) return false;
  *end = *begin + pattern_.literal_.size();
  return true;
}

}  // namespace align
