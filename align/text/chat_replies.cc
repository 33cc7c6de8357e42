#include "align/text/chat_replies.h"

#include <algorithm>
#include <utility>

#include "align/text/chat_template_files.h"

namespace align {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The bytes of text[begin, end) that are learned end here: white space of the
// template's goes when a mark of the template's stands before it.
size_t ReplyEnd(const MarkedText& text, size_t begin, size_t end) {
  size_t at = end;
  while (at > begin && IsSpace(text.text()[at - 1]) &&
         text.AllHave(kMarkup, at - 1, at)) {
    --at;
  }
  return at > begin && text.AllHave(kMarkup, at - 1, at) ? at : end;
}

// What the template wrote after the last byte of data.
std::string MarkupTail(const MarkedText& text) {
  size_t begin = 0, from = 0;
  for (const MarkedText::Run& run : text.runs()) {
    if ((run.marks & kMarkup) == 0) from = run.end;
    begin = run.end;
  }
  return text.text().substr(from, begin - from);
}

Conversation FirstMessages(const Conversation& conversation, size_t count) {
  Conversation first = conversation;
  first.messages.resize(count);
  return first;
}

absl::Status DoesNotNest(size_t first, size_t all) {
  return FailedPrecondition(
      "the chat template's text for the first " + std::to_string(first) +
      " messages does not begin its text for " + std::to_string(all) +
      ": replies cannot be told apart. Learn the last reply alone (replies: "
      "\"last\"), or name another template or one with {% generation %}");
}

// A template that ends in the assistant's header whatever it is asked for gives
// a reply the next one's header.
absl::Status CheckHeader(const ChatTemplate& chat, const Conversation& prompt,
                         const MarkedText& prompt_text, const MarkedText& whole,
                         std::optional<int64_t> time) {
  const std::string tail = MarkupTail(whole);
  if (tail.find_first_not_of(" \t\r\n") == std::string::npos ||
      !prompt_text.text().ends_with(tail)) {
    return absl::OkStatus();
  }
  ALIGN_ASSIGN_OR_RETURN(const MarkedText bare,
                         chat.Render(prompt, {.time = time}));
  if (bare.text() != prompt_text.text()) return absl::OkStatus();
  return FailedPrecondition(
      "the chat template writes the assistant's header whatever "
      "add_generation_prompt is: replies cannot be told apart. Name another "
      "template");
}

// The bytes that message `index` adds to its prompt in `whole`, the rendering
// of all messages.
absl::StatusOr<std::pair<size_t, size_t>> ReplyBytes(
    const ChatTemplate& chat, const Conversation& conversation, size_t index,
    const MarkedText& whole, std::optional<int64_t> time) {
  const size_t count = conversation.messages.size();
  const Conversation prompt = FirstMessages(conversation, index);
  ALIGN_ASSIGN_OR_RETURN(
      const MarkedText before,
      chat.Render(prompt, {.add_generation_prompt = true, .time = time}));
  if (!whole.text().starts_with(before.text())) {
    return DoesNotNest(index, count);
  }
  size_t end = whole.size();
  if (index + 1 < count) {
    ALIGN_ASSIGN_OR_RETURN(
        const MarkedText with,
        chat.Render(FirstMessages(conversation, index + 1), {.time = time}));
    if (!whole.text().starts_with(with.text()) || with.size() < before.size()) {
      return DoesNotNest(index + 1, count);
    }
    end = with.size();
  } else {
    ALIGN_RETURN_IF_ERROR(CheckHeader(chat, prompt, before, whole, time));
  }
  return std::pair(before.size(), ReplyEnd(whole, before.size(), end));
}

// `text` with the mark kReply on its last marked stretch alone.
MarkedText LastReplyOnly(const MarkedText& text) {
  size_t last = text.runs().size();
  while (last > 0 && (text.runs()[last - 1].marks & kReply) == 0) --last;
  size_t first = last;
  while (first > 0 && (text.runs()[first - 1].marks & kReply) != 0) --first;
  MarkedText out;
  size_t begin = 0;
  for (size_t i = 0; i < text.runs().size(); ++i) {
    const MarkedText::Run& run = text.runs()[i];
    const uint8_t marks =
        i >= first && i < last ? run.marks : run.marks & ~kReply;
    out.Append(std::string_view(text.text()).substr(begin, run.end - begin),
               marks);
    begin = run.end;
  }
  return out;
}

}  // namespace

absl::StatusOr<ChatTemplate> MakeChatTemplate(const Tokenizer& tokenizer,
                                              const std::string& name) {
  ChatTemplateSource source = tokenizer.chat();
  if (!name.empty() || source.templates.empty()) {
    ALIGN_ASSIGN_OR_RETURN(ChatTemplateSource named,
                           FindChatTemplate(name.empty() ? "hh" : name));
    source.templates = std::move(named.templates);
    if (!named.special_tokens.empty()) {
      source.special_tokens = std::move(named.special_tokens);
    }
  }
  const auto add = [&](const char* token, std::optional<int32_t> id) {
    const bool known = std::ranges::any_of(
        source.special_tokens,
        [&](const auto& special) { return special.first == token; });
    if (id && !known) {
      source.special_tokens.emplace_back(token, tokenizer.PieceName(*id));
    }
  };
  add("bos_token", tokenizer.bos_id());
  add("eos_token", tokenizer.eos_id());
  return ChatTemplate::Create(source);
}

absl::StatusOr<MarkedText> RenderReplies(const ChatTemplate& chat,
                                         const Conversation& conversation,
                                         ChatReplies replies,
                                         std::optional<int64_t> time) {
  const std::vector<ChatMessage>& messages = conversation.messages;
  if (messages.empty() || messages.back().role != "assistant") {
    return InvalidArgument("the last message: an assistant's expected");
  }
  ALIGN_ASSIGN_OR_RETURN(MarkedText whole,
                         chat.Render(conversation, {.time = time}));
  ALIGN_ASSIGN_OR_RETURN(const bool marked, chat.MarksReplies(conversation));
  if (marked) {
    return replies == ChatReplies::kAll ? whole : LastReplyOnly(whole);
  }
  size_t done = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool last = i + 1 == messages.size();
    if (messages[i].role != "assistant") continue;
    if (replies == ChatReplies::kLast && !last) continue;
    ALIGN_ASSIGN_OR_RETURN(const auto bytes,
                           ReplyBytes(chat, conversation, i, whole, time));
    if (bytes.first < done) return DoesNotNest(i, messages.size());
    whole.Add(kReply, bytes.first, bytes.second);
    done = bytes.second;
  }
  return whole;
}

absl::StatusOr<MarkedText> RenderReply(const ChatTemplate& chat,
                                       const Conversation& prompt,
                                       const std::string& reply,
                                       std::optional<int64_t> time) {
  Conversation conversation = prompt;
  conversation.messages.push_back({.role = "assistant", .content = reply});
  ALIGN_ASSIGN_OR_RETURN(const MarkedText whole,
                         chat.Render(conversation, {.time = time}));
  ALIGN_ASSIGN_OR_RETURN(
      const auto bytes,
      ReplyBytes(chat, conversation, prompt.messages.size(), whole, time));
  return whole.Slice(bytes.first, bytes.second);
}

ChatTokens EncodeChat(const Tokenizer& tokenizer, const MarkedText& text) {
  ChatTokens tokens;
  size_t begin = 0;
  const auto& runs = text.runs();
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool is_reply = (runs[i].marks & kReply) != 0;
    if (i + 1 < runs.size() &&
        ((runs[i + 1].marks & kReply) != 0) == is_reply) {
      continue;
    }
    const std::vector<int32_t> ids = tokenizer.EncodeMarked(
        text.Slice(begin, runs[i].end),
        begin == 0 ? Tokenizer::Place::kStart : Tokenizer::Place::kInside);
    tokens.ids.insert(tokens.ids.end(), ids.begin(), ids.end());
    tokens.is_reply.resize(tokens.ids.size(), is_reply ? 1 : 0);
    begin = runs[i].end;
  }
  return tokens;
}

absl::StatusOr<std::optional<int32_t>> EndOfTurn(const ChatTemplate& chat,
                                                 const Conversation& prompt,
                                                 const Tokenizer& tokenizer,
                                                 std::optional<int64_t> time) {
  ALIGN_ASSIGN_OR_RETURN(const MarkedText reply,
                         RenderReply(chat, prompt, "x", time));
  const std::string tail = MarkupTail(reply);
  for (const int32_t id : tokenizer.EncodeMarked(MarkedText(tail, kMarkup),
                                                 Tokenizer::Place::kInside)) {
    if (tokenizer.DecodePiece(id).empty()) return std::optional<int32_t>(id);
  }
  return std::optional<int32_t>();
}

}  // namespace align
