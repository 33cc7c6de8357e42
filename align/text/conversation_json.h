#pragma once

#include <string>
#include <string_view>

#include "align/base/status.h"
#include "align/text/chat_template.h"

namespace align {

// A conversation as JSON: {"messages": [{"role", "content", ...}, ...],
// "tools": [...], "documents": [...], ...}, as one would pass it to
// apply_chat_template; other members are variables of the template, but for
// "add_generation_prompt".
struct ConversationJson {
  Conversation conversation;
  bool add_generation_prompt = false;
};
// kInvalidArgument: not such an object; `where` stands for it in the message.
absl::StatusOr<ConversationJson> ParseConversation(std::string_view json,
                                                   const std::string& where);

}  // namespace align
