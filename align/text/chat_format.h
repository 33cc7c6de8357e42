#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"

namespace align {

// One turn of a conversation.
struct ChatTurn {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

// A rendered stretch of a conversation.
struct ChatSpan {
  std::string text;
  bool is_reply = false;  // an assistant's words, which the model learns
};

// How conversations become text. A value: copy it freely.
class ChatFormat {
 public:
  // The built-in format of that name; kNotFound lists the names there are.
  //   hh   "\n\nHuman: " and "\n\nAssistant: " before each turn, the system
  //        text first, as in HH-RLHF (Bai et al. 2022)
  static absl::StatusOr<ChatFormat> Named(std::string_view name);
  static std::vector<std::string> Names();

  const std::string& name() const { return name_; }

  // The whole conversation in order. A reply's span starts right after the
  // assistant's header, with the separating space, and the header belongs to
  // the span before it. kInvalidArgument: a role other than the three.
  absl::StatusOr<std::vector<ChatSpan>> Render(
      std::span<const ChatTurn> turns) const;
  // The conversation as one text that ends in the assistant's header, ready to
  // be continued by a reply.
  absl::StatusOr<std::string> RenderPrompt(
      std::span<const ChatTurn> turns) const;
  // What stands between the assistant's header and a reply: " " for hh.
  const std::string& reply_prefix() const { return reply_prefix_; }

 private:
  ChatFormat() = default;
  std::string name_;
  std::string user_header_;       // before a user's content
  std::string assistant_header_;  // before an assistant's content
  std::string reply_prefix_;      // learned with the reply
};

}  // namespace align
