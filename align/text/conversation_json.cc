#include "align/text/conversation_json.h"

#include <simdjson.h>

#include "align/text/json_node.h"

namespace align {
namespace {

constexpr size_t kMaxJsonDepth = 60;

// `"key": value` of a member, after a comma if need be.
void AppendMember(std::string_view key, const simdjson::dom::element& value,
                  std::string& fields) {
  fields += fields.empty() ? '{' : ',';
  // A key comes unescaped, a value is written as JSON.
  std::string quoted = "\"";
  for (const char c : key) {
    constexpr char kHex[] = "0123456789abcdef";
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      quoted += "\\u00";
      quoted += kHex[c >> 4];
      quoted += kHex[c & 15];
    } else {
      quoted += c;
    }
  }
  fields += quoted + "\":" + simdjson::minify(value);
}

absl::StatusOr<ChatMessage> ParseMessage(const JsonNode& node) {
  simdjson::dom::object members;
  if (node.value.get(members)) {
    return InvalidArgument(node.where + ": an object expected");
  }
  ChatMessage message;
  ALIGN_ASSIGN_OR_RETURN(message.role, StringMember(node, "role"));
  for (const auto& [key, value] : members) {
    std::string_view text;
    if (key == "role") continue;
    if (key == "content" && !value.get(text)) {
      message.content = std::string(text);
    } else {
      AppendMember(key, value, message.fields);
    }
  }
  if (!message.fields.empty()) message.fields += '}';
  return message;
}

}  // namespace

absl::StatusOr<ConversationJson> ParseConversation(std::string_view json,
                                                   const std::string& where) {
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const JsonNode root,
                         ParseJsonNode(parser, json, where, kMaxJsonDepth));
  ConversationJson parsed;
  Conversation& conversation = parsed.conversation;
  ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(root, "messages"));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<JsonNode> messages, Elements(list));
  for (const JsonNode& node : messages) {
    ALIGN_ASSIGN_OR_RETURN(ChatMessage message, ParseMessage(node));
    conversation.messages.push_back(std::move(message));
  }
  ALIGN_ASSIGN_OR_RETURN(parsed.add_generation_prompt,
                         BoolMember(root, "add_generation_prompt", false));
  for (const auto& [key, value] : simdjson::dom::object(root.value)) {
    if (key == "messages" || key == "add_generation_prompt") continue;
    if (key == "tools" || key == "documents") {
      std::string& text =
          key == "tools" ? conversation.tools : conversation.documents;
      if (!value.is_null()) text = simdjson::minify(value);
    } else {
      AppendMember(key, value, conversation.variables);
    }
  }
  if (!conversation.variables.empty()) conversation.variables += '}';
  return parsed;
}

}  // namespace align
