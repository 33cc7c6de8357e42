#include "align/text/json_template.h"

#include <limits>
#include <string>
#include <utility>

namespace align {
namespace {

constexpr std::string_view kExpected =
    "TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing or "
    "Sequence";

absl::StatusOr<int32_t> IdOf(const JsonNode& node) {
  int64_t id = 0;
  if (node.value.get(id) || id < 0 ||
      id > std::numeric_limits<int32_t>::max()) {
    return InvalidArgument(node.where + ": an id expected");
  }
  return static_cast<int32_t>(id);
}

// The ids of a special token that a template names.
absl::StatusOr<std::vector<int32_t>> SpecialIds(const JsonNode& node,
                                                const std::string& name) {
  ALIGN_ASSIGN_OR_RETURN(const JsonNode all, Member(node, "special_tokens"));
  ALIGN_ASSIGN_OR_RETURN(const JsonNode token, Member(all, name));
  ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(token, "ids"));
  ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(list));
  std::vector<int32_t> ids;
  for (const JsonNode& item : items) {
    ALIGN_ASSIGN_OR_RETURN(const int32_t id, IdOf(item));
    ids.push_back(id);
  }
  return ids;
}

// ["</s>", 2] as BertProcessing has it.
absl::StatusOr<int32_t> NamedId(const JsonNode& node, std::string_view key) {
  ALIGN_ASSIGN_OR_RETURN(const JsonNode pair, Member(node, key));
  ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(pair));
  if (items.size() != 2) {
    return InvalidArgument(pair.where + ": a name and an id expected");
  }
  return IdOf(items[1]);
}

absl::Status AddPieces(const JsonNode& node, JsonTemplate& around) {
  ALIGN_RETURN_IF_ERROR(
      CheckMembers(node, {"type", "single", "pair", "special_tokens"}));
  ALIGN_ASSIGN_OR_RETURN(const JsonNode single, Member(node, "single"));
  ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(single));
  std::vector<int32_t> prefix, suffix;
  int texts = 0;
  for (const JsonNode& item : items) {
    ALIGN_RETURN_IF_ERROR(CheckMembers(item, {"Sequence", "SpecialToken"}));
    if (FindMember(item, "Sequence")) {
      ++texts;
      continue;
    }
    ALIGN_ASSIGN_OR_RETURN(const JsonNode token, Member(item, "SpecialToken"));
    ALIGN_ASSIGN_OR_RETURN(const std::string name, StringMember(token, "id"));
    ALIGN_ASSIGN_OR_RETURN(const auto ids, SpecialIds(node, name));
    std::vector<int32_t>& side = texts == 0 ? prefix : suffix;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (texts != 1) {
    return Unimplemented(single.where + ": the text occurs " +
                         std::to_string(texts) + " times; once expected");
  }
  around.prefix.insert(around.prefix.begin(), prefix.begin(), prefix.end());
  around.suffix.insert(around.suffix.end(), suffix.begin(), suffix.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JsonTemplate> JsonTemplate::Parse(const JsonNode& node) {
  JsonTemplate around;
  ALIGN_RETURN_IF_ERROR(around.Add(node));
  return around;
}

absl::Status JsonTemplate::Add(const JsonNode& node) {
  ALIGN_ASSIGN_OR_RETURN(const std::string type, StringMember(node, "type"));
  if (type == "Sequence") {
    ALIGN_RETURN_IF_ERROR(CheckMembers(node, {"type", "processors"}));
    ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(node, "processors"));
    ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(list));
    for (const JsonNode& item : items) ALIGN_RETURN_IF_ERROR(Add(item));
    return absl::OkStatus();
  }
  if (type == "ByteLevel") return absl::OkStatus();  // moves offsets alone
  if (type == "TemplateProcessing") return AddPieces(node, *this);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    ALIGN_ASSIGN_OR_RETURN(const int32_t begin, NamedId(node, "cls"));
    ALIGN_ASSIGN_OR_RETURN(const int32_t end, NamedId(node, "sep"));
    prefix.insert(prefix.begin(), begin);
    suffix.push_back(end);
    return absl::OkStatus();
  }
  return UnsupportedType(node, type, kExpected);
}

}  // namespace align
