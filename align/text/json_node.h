#pragma once

// Internal to align/text: values of a parsed tokenizer.json that know where
// they stand, so that every refusal names its component.

#include <simdjson.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"

namespace align {

// A view into a document that the parser owns.
struct JsonNode {
  simdjson::dom::element value;
  std::string where;  // "tokenizer.json: pre_tokenizer.pretokenizers[1]"
};

// The object that `text` is, owned by `parser` until its next use. Errors as
// ParseJsonObject, which see; members are "where: key".
absl::StatusOr<JsonNode> ParseJsonNode(simdjson::dom::parser& parser,
                                       std::string_view text,
                                       const std::string& where,
                                       size_t max_depth);

// The member `key`; nullopt when it is missing or null.
std::optional<JsonNode> FindMember(const JsonNode& object,
                                   std::string_view key);
// The same where it must be there.
absl::StatusOr<JsonNode> Member(const JsonNode& object, std::string_view key);
// The elements of an array.
absl::StatusOr<std::vector<JsonNode>> Elements(const JsonNode& array);

absl::StatusOr<std::string> StringMember(const JsonNode& object,
                                         std::string_view key);
// A missing or null member is `otherwise`.
absl::StatusOr<bool> BoolMember(const JsonNode& object, std::string_view key,
                                bool otherwise);
absl::StatusOr<int64_t> IntegerMember(const JsonNode& object,
                                      std::string_view key);

// kUnimplemented, naming the member, for one that is not in `known`: an option
// that we do not know is never ignored.
absl::Status CheckMembers(const JsonNode& object,
                          std::initializer_list<std::string_view> known);

// "where: type \"X\" is not supported; expected ...".
absl::Status UnsupportedType(const JsonNode& node, std::string_view type,
                             std::string_view expected);

}  // namespace align
