#include "align/text/added_tokens.h"

#include <algorithm>
#include <limits>

#include "align/text/unicode.h"

namespace align {
namespace {

absl::StatusOr<AddedToken> ParseToken(const JsonNode& node) {
  ALIGN_RETURN_IF_ERROR(
      CheckMembers(node, {"id", "content", "single_word", "lstrip", "rstrip",
                          "normalized", "special"}));
  AddedToken token;
  ALIGN_ASSIGN_OR_RETURN(const int64_t id, IntegerMember(node, "id"));
  if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
    return InvalidArgument(node.where + ".id: " + std::to_string(id) +
                           "; 0 to 2147483647 expected");
  }
  token.id = static_cast<int32_t>(id);
  ALIGN_ASSIGN_OR_RETURN(token.content, StringMember(node, "content"));
  if (token.content.empty()) {
    return InvalidArgument(node.where +
                           ".content: a text that is not empty expected");
  }
  ALIGN_ASSIGN_OR_RETURN(token.special, BoolMember(node, "special", false));
  ALIGN_ASSIGN_OR_RETURN(token.normalized,
                         BoolMember(node, "normalized", !token.special));
  ALIGN_ASSIGN_OR_RETURN(token.single_word,
                         BoolMember(node, "single_word", false));
  ALIGN_ASSIGN_OR_RETURN(token.lstrip, BoolMember(node, "lstrip", false));
  ALIGN_ASSIGN_OR_RETURN(token.rstrip, BoolMember(node, "rstrip", false));
  return token;
}

// Where the last character of text[0, end) starts; end is not 0.
size_t LastCharacter(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (text[at] & 0xC0) == 0x80) --at;
  return at;
}

bool StandsAlone(std::string_view text, size_t begin, size_t end) {
  const auto is_word = [&](size_t at) {
    return IsWordCharacter(FirstCharacter(text.substr(at)).value);
  };
  return (begin == 0 || !is_word(LastCharacter(text, begin))) &&
         (end == text.size() || !is_word(end));
}

// The first position of the white space that ends at `end`, not before `low`.
size_t SpaceBefore(std::string_view text, size_t low, size_t end) {
  while (end > low) {
    const size_t at = LastCharacter(text, end);
    if (!IsWhiteSpace(FirstCharacter(text.substr(at)).value)) break;
    end = at;
  }
  return end;
}

size_t SpaceAfter(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Character c = FirstCharacter(text.substr(begin));
    if (!IsWhiteSpace(c.value)) break;
    begin += c.length;
  }
  return begin;
}

}  // namespace

absl::StatusOr<AddedTokens> AddedTokens::Parse(
    const JsonNode& list, const JsonNormalizer& normalizer) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<JsonNode> nodes, Elements(list));
  AddedTokens added;
  std::vector<std::pair<std::string, int32_t>> raw, normalized, content_of;
  for (const JsonNode& node : nodes) {
    ALIGN_ASSIGN_OR_RETURN(const AddedToken token, ParseToken(node));
    const auto index = static_cast<int32_t>(added.tokens_.size());
    if (token.normalized) {
      if (token.special) content_of.emplace_back(token.content, index);
      std::string buffer;
      const std::string_view content =
          normalizer.Apply(token.content, TextPosition::kStart, buffer);
      if (!content.empty()) normalized.emplace_back(content, index);
    } else {
      raw.emplace_back(token.content, index);
    }
    added.tokens_.push_back(token);
  }
  added.raw_ = ByteTrie(std::move(raw));
  added.normalized_ = ByteTrie(std::move(normalized));
  added.content_ = ByteTrie(std::move(content_of));
  return added;
}

void AddedTokens::Split(std::string_view text, Pass pass, Allow allow,
                        Emit emit) const {
  const ByteTrie& trie = this->trie(pass);
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const ByteTrie::Match match = trie.LongestPrefix(text.substr(at));
    if (match.length == 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match.value];
    size_t begin = at, end = at + match.length;
    at = end;
    if (token.special && !allow(begin, end)) continue;
    if (token.single_word && !StandsAlone(text, begin, end)) continue;
    if (token.lstrip) begin = SpaceBefore(text, done, begin);
    if (token.rstrip) end = SpaceAfter(text, end);
    begin = std::max(begin, done);
    if (begin >= end) continue;
    if (done < begin) emit(text.substr(done, begin - done), nullptr);
    emit(text.substr(begin, end - begin), &token);
    done = end;
  }
  if (done < text.size()) emit(text.substr(done), nullptr);
}

}  // namespace align
