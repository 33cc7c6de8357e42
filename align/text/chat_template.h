#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/text/marked_text.h"

namespace align {

// One turn of a conversation.
struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool", ...
  std::string content;
  // What else the message has, one JSON object: "tool_calls",
  // "reasoning_content", "name", or a "content" that is no text. Empty:
  // nothing.
  std::string fields;
};

// What a chat template is rendered with; the names are those of transformers'
// apply_chat_template.
struct Conversation {
  std::vector<ChatMessage> messages;
  std::string tools;      // a JSON array; empty: none
  std::string documents;  // the same
  std::string variables;  // a JSON object of further variables; empty: none
};

struct ChatRenderOptions {
  bool add_generation_prompt = false;  // end in the assistant's header
  // What strftime_now tells, in seconds since 1970 (UTC); without it that
  // function is undefined, which templates can ask.
  std::optional<int64_t> time;
};

// Chat templates as text, by the names that tokenizer_config.json gives them; a
// template alone is "default". Special tokens are variables: "bos_token", ...
struct ChatTemplateSource {
  struct Template {
    std::string name;
    std::string text;   // Jinja
    std::string where;  // the file, or the built-in's name: for messages
  };
  std::vector<Template> templates;
  std::vector<std::pair<std::string, std::string>> special_tokens;
};

// How conversations become text. Immutable: any number of threads may call it.
//
// A subset of Jinja as transformers sets it up (trim_blocks, lstrip_blocks,
// loop controls, {% generation %}), enough for the templates of published
// models. What is outside the subset is refused with line and construct; steps,
// depth and output are bounded (see JinjaLimits).
class ChatTemplate {
 public:
  // Parses every template of the source. kInvalidArgument: malformed;
  // kUnimplemented: outside the subset; kNotFound: there is none.
  static absl::StatusOr<ChatTemplate> Create(const ChatTemplateSource& source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The conversation as text; what the template wrote is marked kMarkup, what
  // stands in {% generation %} blocks kReply. Of several templates "tool_use"
  // renders conversations with tools and "default" the others.
  // kInvalidArgument: JSON that is malformed, a value that the template does
  // not take, or what its raise_exception says; kResourceExhausted: a limit.
  absl::StatusOr<MarkedText> Render(const Conversation& conversation,
                                    const ChatRenderOptions& options) const;

  // Whether the template that would render it has {% generation %} blocks.
  absl::StatusOr<bool> MarksReplies(const Conversation& conversation) const;

 private:
  struct Parts;
  explicit ChatTemplate(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// The built-in template of that name, without special tokens; kNotFound lists
// the names there are.
absl::StatusOr<ChatTemplateSource> BuiltInChatTemplate(std::string_view name);

struct BuiltInChatTemplateInfo {
  std::string_view name;
  std::string_view summary;  // one line
};
std::vector<BuiltInChatTemplateInfo> BuiltInChatTemplates();

}  // namespace align
