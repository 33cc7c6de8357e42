#include "align/text/chat_template.h"

#include <simdjson.h>

#include "align/base/json_document.h"
#include "align/text/jinja_interpreter.h"
#include "align/text/jinja_json.h"
#include "align/text/utf8.h"

namespace align {
namespace {

constexpr size_t kMaxJsonDepth = 64;

// A JSON text that stands under `key` in an object, so that its parser, which
// takes objects, takes any value.
absl::StatusOr<JinjaValue> ParseValue(const std::string& json,
                                      const std::string& where,
                                      JinjaHeap& heap) {
  simdjson::dom::parser parser;
  std::string text = R"({"value":)";
  text += json;
  text += '}';
  ALIGN_ASSIGN_OR_RETURN(const simdjson::dom::object object,
                         ParseJsonObject(parser, text, where, kMaxJsonDepth));
  simdjson::dom::element value;
  if (object.size() != 1 || object.at_key("value").get(value)) {
    return InvalidArgument(where + ": one JSON value expected");
  }
  return JinjaFromJson(value, heap);
}

absl::Status CheckUtf8(const std::string& text, const std::string& where) {
  if (IsUtf8(text)) return absl::OkStatus();
  return InvalidArgument(where + ": not UTF-8");
}

// A name in an object that the caller reads: its characters are its data's.
JinjaValue Key(std::string_view name, JinjaHeap& heap) {
  return heap.String(std::string(name));
}

absl::StatusOr<JinjaValue> MessageValue(const ChatMessage& message,
                                        const std::string& where,
                                        JinjaHeap& heap) {
  ALIGN_RETURN_IF_ERROR(CheckUtf8(message.role, where));
  ALIGN_RETURN_IF_ERROR(CheckUtf8(message.content, where));
  JinjaDict* dict = heap.NewDict();
  ALIGN_RETURN_IF_ERROR(
      dict->Set(Key("role", heap), heap.String(message.role)));
  ALIGN_RETURN_IF_ERROR(
      dict->Set(Key("content", heap), heap.String(message.content)));
  if (message.fields.empty()) return heap.Dict(dict);
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue fields,
                         ParseValue(message.fields, where, heap));
  if (!fields.Is(JinjaValue::Type::kDict)) {
    return InvalidArgument(where + ": a JSON object of fields expected");
  }
  for (const auto& [key, value] : fields.dict->entries) {
    ALIGN_RETURN_IF_ERROR(dict->Set(key, value));
  }
  return heap.Dict(dict);
}

}  // namespace

struct ChatTemplate::Parts {
  struct Parsed {
    std::string name;
    std::string where;
    JinjaProgram program;
  };
  std::vector<Parsed> templates;
  // Their bytes are the template's: they may name special tokens.
  std::vector<std::pair<std::string, MarkedText>> special_tokens;

  const Parsed* Find(std::string_view name) const {
    for (const Parsed& one : templates) {
      if (one.name == name) return &one;
    }
    return nullptr;
  }

  absl::StatusOr<const Parsed*> Choose(const Conversation& conversation) const {
    const Parsed* found = nullptr;
    if (!conversation.tools.empty()) found = Find("tool_use");
    if (found == nullptr) found = Find("default");
    if (found == nullptr && templates.size() == 1) found = &templates[0];
    if (found != nullptr) return found;
    std::string names;
    for (const Parsed& one : templates) names += " " + one.name.substr(0, 40);
    return NotFound(templates[0].where +
                    ": no chat template \"default\"; there are:" + names);
  }

  absl::Status SetVariables(const Conversation& conversation,
                            const ChatRenderOptions& options, JinjaHeap& heap,
                            JinjaScope& globals) const;
};

absl::Status ChatTemplate::Parts::SetVariables(const Conversation& conversation,
                                               const ChatRenderOptions& options,
                                               JinjaHeap& heap,
                                               JinjaScope& globals) const {
  for (const auto& [name, token] : special_tokens) {
    globals.Set(name, JinjaValue::StringView(token));
  }
  std::vector<JinjaValue> messages;
  for (const ChatMessage& message : conversation.messages) {
    ALIGN_ASSIGN_OR_RETURN(
        const JinjaValue value,
        MessageValue(message, "message " + std::to_string(messages.size()),
                     heap));
    messages.push_back(value);
  }
  globals.Set("messages", heap.List(std::move(messages)));
  for (const auto& [name, json] :
       {std::pair("tools", &conversation.tools),
        std::pair("documents", &conversation.documents)}) {
    JinjaValue value = JinjaValue::None();
    if (!json->empty()) {
      ALIGN_ASSIGN_OR_RETURN(value, ParseValue(*json, name, heap));
    }
    globals.Set(name, value);
  }
  globals.Set("add_generation_prompt",
              JinjaValue::Bool(options.add_generation_prompt));
  if (conversation.variables.empty()) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue variables,
                         ParseValue(conversation.variables, "variables", heap));
  if (!variables.Is(JinjaValue::Type::kDict)) {
    return InvalidArgument("variables: a JSON object expected");
  }
  for (const auto& [key, value] : variables.dict->entries) {
    globals.Set(key.str(), value);
  }
  return absl::OkStatus();
}

absl::StatusOr<ChatTemplate> ChatTemplate::Create(
    const ChatTemplateSource& source) {
  if (source.templates.empty()) return NotFound("there is no chat template");
  auto parts = std::make_unique<Parts>();
  for (const ChatTemplateSource::Template& one : source.templates) {
    absl::StatusOr<JinjaProgram> program = ParseJinja(one.text);
    if (!program.ok()) return Annotate(program.status(), one.where);
    parts->templates.push_back({one.name, one.where, *std::move(program)});
  }
  for (const auto& [name, token] : source.special_tokens) {
    ALIGN_RETURN_IF_ERROR(CheckUtf8(token, name));
    parts->special_tokens.emplace_back(name, MarkedText(token, kMarkup));
  }
  return ChatTemplate(std::move(parts));
}

ChatTemplate::ChatTemplate(std::unique_ptr<Parts> parts)
    : parts_(std::move(parts)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<MarkedText> ChatTemplate::Render(
    const Conversation& conversation, const ChatRenderOptions& options) const {
  ALIGN_ASSIGN_OR_RETURN(const Parts::Parsed* chosen,
                         parts_->Choose(conversation));
  JinjaHeap heap({});
  JinjaScope& globals = *heap.NewScope(nullptr);
  ALIGN_RETURN_IF_ERROR(
      parts_->SetVariables(conversation, options, heap, globals));
  auto text = RunJinja(chosen->program, globals, heap, options.time);
  if (!text.ok()) return Annotate(text.status(), chosen->where);
  return text;
}

absl::StatusOr<bool> ChatTemplate::MarksReplies(
    const Conversation& conversation) const {
  ALIGN_ASSIGN_OR_RETURN(const Parts::Parsed* chosen,
                         parts_->Choose(conversation));
  return chosen->program.has_generation;
}

}  // namespace align
