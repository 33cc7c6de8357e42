#include "align/text/chat_format.h"

namespace align {
namespace {

// One built-in format; see ChatFormat::Named.
struct Layout {
  std::string_view name;
  std::string_view user_header;
  std::string_view assistant_header;
  std::string_view reply_prefix;
};

constexpr Layout kLayouts[] = {
    {.name = "hh",
     .user_header = "\n\nHuman: ",
     .assistant_header = "\n\nAssistant:",
     .reply_prefix = " "},
};

}  // namespace

absl::StatusOr<ChatFormat> ChatFormat::Named(std::string_view name) {
  std::string known;
  for (const Layout& layout : kLayouts) {
    if (layout.name == name) {
      ChatFormat format;
      format.name_ = std::string(layout.name);
      format.user_header_ = std::string(layout.user_header);
      format.assistant_header_ = std::string(layout.assistant_header);
      format.reply_prefix_ = std::string(layout.reply_prefix);
      return format;
    }
    known += ' ';
    known += layout.name;
  }
  return NotFound("chat format \"" + std::string(name) +
                  "\"; known are:" + known);
}

std::vector<std::string> ChatFormat::Names() {
  std::vector<std::string> names;
  for (const Layout& layout : kLayouts) names.emplace_back(layout.name);
  return names;
}

absl::StatusOr<std::vector<ChatSpan>> ChatFormat::Render(
    std::span<const ChatTurn> turns) const {
  std::vector<ChatSpan> spans;
  const auto append = [&spans](const std::string& text, bool is_reply) {
    if (spans.empty() || spans.back().is_reply != is_reply) {
      spans.push_back({.text = {}, .is_reply = is_reply});
    }
    spans.back().text += text;
  };
  for (const ChatTurn& turn : turns) {
    if (turn.role == "assistant") {
      append(assistant_header_, false);
      append(reply_prefix_, true);
      append(turn.content, true);
    } else if (turn.role == "user") {
      append(user_header_ + turn.content, false);
    } else if (turn.role == "system") {
      append(turn.content, false);
    } else {
      return InvalidArgument("chat role \"" + turn.role +
                             "\"; system, user or assistant expected");
    }
  }
  return spans;
}

absl::StatusOr<std::string> ChatFormat::RenderPrompt(
    std::span<const ChatTurn> turns) const {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<ChatSpan> spans, Render(turns));
  std::string text;
  for (const ChatSpan& span : spans) text += span.text;
  return text + assistant_header_;
}

}  // namespace align
