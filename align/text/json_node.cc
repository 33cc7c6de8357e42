#include "align/text/json_node.h"

#include <algorithm>

#include "align/base/json_document.h"

namespace align {
namespace {

absl::Status WrongType(const std::string& where, const char* expected) {
  return InvalidArgument(where + ": " + expected + " expected");
}

std::string Path(const JsonNode& object, std::string_view key) {
  return object.where + (object.where.ends_with(':') ? " " : ".") +
         std::string(key);
}

}  // namespace

absl::StatusOr<JsonNode> ParseJsonNode(simdjson::dom::parser& parser,
                                       std::string_view text,
                                       const std::string& where,
                                       size_t max_depth) {
  ALIGN_RETURN_IF_ERROR(
      ParseJsonObject(parser, text, where, max_depth).status());
  return JsonNode{parser.doc.root(), where + ":"};
}

std::optional<JsonNode> FindMember(const JsonNode& object,
                                   std::string_view key) {
  simdjson::dom::element member;
  if (object.value.at_key(key).get(member) || member.is_null()) {
    return std::nullopt;
  }
  return JsonNode{member, Path(object, key)};
}

absl::StatusOr<JsonNode> Member(const JsonNode& object, std::string_view key) {
  if (!object.value.is_object()) return WrongType(object.where, "an object");
  if (auto member = FindMember(object, key)) return *std::move(member);
  return InvalidArgument(Path(object, key) + ": missing");
}

absl::StatusOr<std::vector<JsonNode>> Elements(const JsonNode& array) {
  simdjson::dom::array values;
  if (array.value.get(values)) return WrongType(array.where, "an array");
  std::vector<JsonNode> elements;
  for (const simdjson::dom::element value : values) {
    elements.push_back(
        {value, array.where + "[" + std::to_string(elements.size()) + "]"});
  }
  return elements;
}

absl::StatusOr<std::string> StringMember(const JsonNode& object,
                                         std::string_view key) {
  ALIGN_ASSIGN_OR_RETURN(const JsonNode member, Member(object, key));
  std::string_view text;
  if (member.value.get(text)) return WrongType(member.where, "a string");
  return std::string(text);
}

absl::StatusOr<bool> BoolMember(const JsonNode& object, std::string_view key,
                                bool otherwise) {
  const std::optional<JsonNode> member = FindMember(object, key);
  if (!member) return otherwise;
  bool flag = false;
  if (member->value.get(flag)) return WrongType(member->where, "true or false");
  return flag;
}

absl::StatusOr<int64_t> IntegerMember(const JsonNode& object,
                                      std::string_view key) {
  ALIGN_ASSIGN_OR_RETURN(const JsonNode member, Member(object, key));
  int64_t number = 0;
  if (member.value.get(number)) {
    return WrongType(member.where, "a whole number");
  }
  return number;
}

absl::Status CheckMembers(const JsonNode& object,
                          std::initializer_list<std::string_view> known) {
  simdjson::dom::object members;
  if (object.value.get(members)) return WrongType(object.where, "an object");
  for (const auto& [key, value] : members) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Unimplemented(Path(object, key.substr(0, 60)) +
                           ": this option is not supported");
    }
  }
  return absl::OkStatus();
}

absl::Status UnsupportedType(const JsonNode& node, std::string_view type,
                             std::string_view expected) {
  return Unimplemented(
      node.where + ": type \"" + std::string(type.substr(0, 60)) +
      "\" is not supported; expected " + std::string(expected));
}

}  // namespace align
