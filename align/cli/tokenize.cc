#include "align/cli/tokenize.h"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "align/base/files.h"
#include "align/base/json_writer.h"
#include "align/data/row_reader.h"
#include "align/models/peft.h"
#include "align/text/chat_replies.h"
#include "align/text/chat_template_files.h"
#include "align/text/conversation_json.h"
#include "align/text/huggingface_tokenizer.h"
#include "align/text/sentencepiece.h"
#include "align/text/tokenizer.h"
#include "align/text/utf8.h"

namespace align::cli {
namespace {

constexpr int64_t kMaxTextBytes = 1 << 30;
constexpr int64_t kMaxTokenizerBytes = 256 << 20;

// A model directory, or a tokenizer.json or tokenizer.model itself.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadFrom(const std::string& path) {
  if (std::filesystem::is_directory(path))
    return LoadTokenizer(DirectoryOfTokenizer(path));
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes,
                         ReadFile(path, kMaxTokenizerBytes));
  if (path.ends_with(".json")) {
    ALIGN_ASSIGN_OR_RETURN(auto tokenizer,
                           HuggingFaceTokenizer::Parse(bytes, path));
    return std::unique_ptr<Tokenizer>(std::move(tokenizer));
  }
  ALIGN_ASSIGN_OR_RETURN(auto tokenizer,
                         SentencePieceTokenizer::Parse(bytes, path));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

// "1 2 3", also with commas.
absl::StatusOr<std::vector<int32_t>> ParseIds(const std::string& text,
                                              int32_t vocab_size) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    if (*at == ' ' || *at == ',' || *at == '\n') {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [after, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0 || id >= vocab_size) {
      return InvalidArgument(
          "--decode: \"" + std::string(at, end).substr(0, 20) +
          "\": expected ids from 0 to " + std::to_string(vocab_size - 1));
    }
    ids.push_back(id);
    at = after;
  }
  return ids;
}

// One line of any text: line breaks, tabs and other controls are escaped.
std::string OneLine(const std::string& text) {
  std::string out;
  for (const char c : ReplaceMalformedSubparts(text)) {
    if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof code, "\\x%02x",
                    static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += code;
    } else {
      out += c;
    }
  }
  return out;
}

size_t CountCharacters(const std::string& text) {
  size_t count = 0;
  for (const char c : ReplaceMalformedBytes(text)) {
    count += (c & 0xC0) != 0x80;
  }
  return count;
}

// The text that the flags give: exactly one of the argument and --file.
absl::StatusOr<std::string> TextOf(const Arguments& arguments) {
  const bool has_text = arguments.positional.size() == 2;
  if (has_text == arguments.Has("file")) {
    return InvalidArgument(
        "expected one of TEXT, --file and --decode. Usage: " +
        std::string(kTokenizeUsage));
  }
  if (has_text) return arguments.positional[1];
  return ReadFile(arguments.Get("file", ""), kMaxTextBytes);
}

void Print(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    std::printf("%d\t%s\t%s\n", id, OneLine(tokenizer.PieceName(id)).c_str(),
                OneLine(tokenizer.DecodePiece(id)).c_str());
  }
}

// One conversation, rendered; what it teaches is marked if its last message is
// a reply and `replies` is not "none".
absl::StatusOr<MarkedText> RenderConversation(const ChatTemplate& chat,
                                              const std::string& json,
                                              const std::string& where,
                                              const std::string& replies) {
  ALIGN_ASSIGN_OR_RETURN(const ConversationJson parsed,
                         ParseConversation(json, where));
  const int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  const std::vector<ChatMessage>& messages = parsed.conversation.messages;
  if (replies == "none" || parsed.add_generation_prompt || messages.empty() ||
      messages.back().role != "assistant") {
    return chat.Render(
        parsed.conversation,
        {.add_generation_prompt = parsed.add_generation_prompt, .time = now});
  }
  return RenderReplies(
      chat, parsed.conversation,
      replies == "all" ? ChatReplies::kAll : ChatReplies::kLast, now);
}

// A line a token, with "*" before those that are learned.
void PrintChat(const Tokenizer& tokenizer, const ChatTokens& tokens) {
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    const int32_t id = tokens.ids[i];
    std::printf("%s\t%d\t%s\t%s\n", tokens.is_reply[i] != 0 ? "*" : "", id,
                OneLine(tokenizer.PieceName(id)).c_str(),
                OneLine(tokenizer.DecodePiece(id)).c_str());
  }
}

void PrintIds(const std::vector<int32_t>& ids) {
  for (size_t i = 0; i < ids.size(); ++i) {
    std::printf(i == 0 ? "%d" : " %d", ids[i]);
  }
  std::printf("\n");
}

// Every conversation of a file of JSON rows. With --rendered one that is
// refused is a line {"error": ...}, and the others follow.
absl::Status TokenizeConversations(const Arguments& arguments,
                                   const Tokenizer& tokenizer) {
  const std::string path = arguments.Get("conversations", "");
  const std::string replies = arguments.Get("replies", "all");
  if (replies != "all" && replies != "last" && replies != "none") {
    return InvalidArgument("--replies " + replies +
                           ": all, last or none expected");
  }
  ALIGN_ASSIGN_OR_RETURN(
      const ChatTemplate chat,
      MakeChatTemplate(tokenizer, arguments.Get("chat-template", "")));
  ALIGN_ASSIGN_OR_RETURN(RowReader rows, RowReader::Open(path, kMaxTextBytes));
  Row row;
  while (true) {
    ALIGN_ASSIGN_OR_RETURN(const bool more, rows.Next(row));
    if (!more) return absl::OkStatus();
    const auto text =
        RenderConversation(chat, std::string(row.text),
                           path + ":" + std::to_string(row.line), replies);
    if (arguments.Has("rendered")) {
      JsonWriter json({.indent = 0});
      json.BeginObject();
      if (text.ok()) {
        json.Field("text", text->text());
      } else {
        json.Field("error", Message(text.status()));
      }
      json.EndObject();
      ALIGN_ASSIGN_OR_RETURN(const std::string line, std::move(json).Finish());
      std::printf("%s\n", line.c_str());
      continue;
    }
    if (!text.ok()) return text.status();
    const ChatTokens tokens = EncodeChat(tokenizer, *text);
    if (arguments.Has("ids")) {
      PrintIds(tokens.ids);
    } else {
      PrintChat(tokenizer, tokens);
    }
  }
}

}  // namespace

absl::Status TokenizeCommand(const Arguments& arguments) {
  const size_t count = arguments.positional.size();
  if (count < 1 || count > 2) {
    return InvalidArgument(std::string("expected a tokenizer. Usage: ") +
                           kTokenizeUsage);
  }
  ALIGN_ASSIGN_OR_RETURN(const auto tokenizer,
                         LoadFrom(arguments.positional[0]));
  if (arguments.Has("conversations")) {
    if (count != 1 || arguments.Has("file") || arguments.Has("decode")) {
      return InvalidArgument("--conversations stands alone. Usage: " +
                             std::string(kTokenizeUsage));
    }
    return TokenizeConversations(arguments, *tokenizer);
  }
  if (arguments.Has("decode")) {
    if (count != 1 || arguments.Has("file")) {
      return InvalidArgument(
          "expected one of TEXT, --file and --decode. Usage: " +
          std::string(kTokenizeUsage));
    }
    ALIGN_ASSIGN_OR_RETURN(
        const std::vector<int32_t> ids,
        ParseIds(arguments.Get("decode", ""), tokenizer->vocab_size()));
    const std::string text = arguments.Has("markup")
                                 ? tokenizer->DecodeMarkup(ids)
                                 : tokenizer->Decode(ids);
    std::printf("%s\n", text.c_str());
    return absl::OkStatus();
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string text, TextOf(arguments));
  std::vector<int32_t> ids = arguments.Has("markup")
                                 ? tokenizer->EncodeMarkup(text)
                                 : tokenizer->Encode(text);
  if (arguments.Has("template")) ids = tokenizer->AddTemplate(std::move(ids));
  if (arguments.Has("count")) {
    std::printf("tokens %zu\ncharacters %zu\nbytes %zu\n", ids.size(),
                CountCharacters(text), text.size());
  } else if (arguments.Has("ids")) {
    PrintIds(ids);
  } else {
    Print(*tokenizer, ids);
  }
  return absl::OkStatus();
}

}  // namespace align::cli
