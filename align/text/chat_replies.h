#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/text/chat_template.h"
#include "align/text/marked_text.h"
#include "align/text/tokenizer.h"

namespace align {

// The chat template for a tokenizer: what FindChatTemplate finds by `name`, or,
// when that is empty, the tokenizer's own, or "hh" if it has none. Its special
// tokens are the tokenizer's where it does not name them.
absl::StatusOr<ChatTemplate> MakeChatTemplate(const Tokenizer& tokenizer,
                                              const std::string& name);

// Which of a conversation's replies are learned.
enum class ChatReplies { kAll, kLast };

// A conversation whose last message is an assistant's, its replies marked
// kReply: the text of {% generation %} blocks where the template has them, else
// what the rendering of messages [0, i] adds to that of [0, i) with the
// assistant's header. White space that the template writes after the mark that
// ends a turn is not learned.
//
// kFailedPrecondition: the renderings of a conversation's beginnings do not
// begin that of the whole (the template rewrites earlier turns), or the
// template writes the assistant's header whether asked for it or not; the
// message says what to set instead. Others: see ChatTemplate::Render.
absl::StatusOr<MarkedText> RenderReplies(const ChatTemplate& chat,
                                         const Conversation& conversation,
                                         ChatReplies replies,
                                         std::optional<int64_t> time);

// What the template adds to the prompt (rendered with the assistant's header)
// when an assistant answers with `reply`: its text and the end of its turn.
// Errors as RenderReplies.
absl::StatusOr<MarkedText> RenderReply(const ChatTemplate& chat,
                                       const Conversation& prompt,
                                       const std::string& reply,
                                       std::optional<int64_t> time);

// A rendered conversation as tokens. Stretches inside and outside of replies
// are encoded apart, so that no token spans the two and a prompt has the ids
// that it has alone.
struct ChatTokens {
  std::vector<int32_t> ids;
  std::vector<uint8_t> is_reply;  // one an id
};
ChatTokens EncodeChat(const Tokenizer& tokenizer, const MarkedText& text);

// The special token that ends a reply to `prompt`; nullopt: the template writes
// none.
absl::StatusOr<std::optional<int32_t>> EndOfTurn(const ChatTemplate& chat,
                                                 const Conversation& prompt,
                                                 const Tokenizer& tokenizer,
                                                 std::optional<int64_t> time);

}  // namespace align
