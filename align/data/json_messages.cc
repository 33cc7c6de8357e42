#include "align/data/json_messages.h"

#include <string>

#include "proto/records.pb.h"

namespace align {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

std::optional<element> FindField(const object& row, std::string_view key) {
  element value;
  if (row.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) {
    return std::nullopt;
  }
  return value;
}

Drop BadField(std::string_view key, std::string_view expected) {
  return {DropReason::kBadField,
          std::string(key) + " is not " + std::string(expected)};
}

namespace {

// A text, or the texts of a list of {"type": "text", "text" or "value": ...}.
bool ReadContent(const element& value, std::string& out) {
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) {
    out = text;
    return true;
  }
  array parts;
  if (value.get(parts) != simdjson::SUCCESS) return false;
  out.clear();
  for (const element part : parts) {
    object fields;
    std::string_view type;
    if (part.get(fields) != simdjson::SUCCESS ||
        fields["type"].get(type) != simdjson::SUCCESS || type != "text" ||
        (fields["text"].get(text) != simdjson::SUCCESS &&
         fields["value"].get(text) != simdjson::SUCCESS)) {
      return false;
    }
    out += text;
  }
  return true;
}

// The role by any of its names, or empty.
std::string_view CanonicalRole(std::string_view role) {
  if (role == "user" || role == "human" || role == "prompter") return "user";
  if (role == "assistant" || role == "gpt") return "assistant";
  if (role == "tool" || role == "observation") return "tool";
  return role == "system" ? role : std::string_view();
}

// The fields that chat templates know beside role and content, as JSON.
std::string ReadFields(const object& message) {
  std::string fields;
  for (const char* key :
       {"name", "reasoning_content", "tool_call_id", "tool_calls"}) {
    const auto value = FindField(message, key);
    if (!value) continue;
    fields += fields.empty() ? "{\"" : ",\"";
    fields += key;
    fields += "\":" + simdjson::minify(*value);
  }
  return fields.empty() ? fields : fields + "}";
}

// {"role", "content"} or ShareGPT's {"from", "value"}.
std::optional<Drop> ReadMessage(std::string_view key, const element& value,
                                pb::Message& message) {
  object fields;
  if (value.get(fields) != simdjson::SUCCESS) {
    return BadField(key, "a message or a list of them");
  }
  auto role = FindField(fields, "role");
  if (!role) role = FindField(fields, "from");
  auto content = FindField(fields, "content");
  if (!content) content = FindField(fields, "value");
  std::string_view name;
  if (!role || role->get(name) != simdjson::SUCCESS) {
    return Drop{DropReason::kBadField,
                "a message in " + std::string(key) + " has no role"};
  }
  const std::string_view canonical = CanonicalRole(name);
  if (canonical.empty()) {
    return Drop{DropReason::kBadField,
                "role \"" + std::string(name.substr(0, 40)) +
                    "\"; expected system, user, assistant or tool"};
  }
  message.set_fields(ReadFields(fields));
  // What calls tools may say nothing.
  const bool silent = !content && FindField(fields, "tool_calls").has_value();
  if (silent) {
    message.set_fields(R"({"content":null,)" + message.fields().substr(1));
  }
  if (!silent &&
      (!content || !ReadContent(*content, *message.mutable_content()))) {
    return Drop{DropReason::kBadField,
                "a message in " + std::string(key) + " has no text"};
  }
  message.set_role(std::string(canonical));
  return std::nullopt;
}

}  // namespace

std::optional<Drop> ReadMessages(std::string_view key, const element& value,
                                 std::vector<pb::Message>& out) {
  array list;
  if (value.get(list) != simdjson::SUCCESS) {
    return ReadMessage(key, value, out.emplace_back());
  }
  for (const element item : list) {
    if (auto drop = ReadMessage(key, item, out.emplace_back())) return drop;
  }
  return std::nullopt;
}

}  // namespace align
