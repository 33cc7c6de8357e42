// Any bytes as a chat template: a status, or a text that is UTF-8 and whose
// marks cover it. What follows a NUL byte is a user's message.
#include <cstdint>
#include <string>
#include <string_view>

#include "align/base/check.h"
#include "align/text/chat_template.h"
#include "align/text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t end = all.find('\0');
  align::ChatTemplateSource source;
  source.templates.push_back(
      {"default", std::string(all.substr(0, end)), "template"});
  source.special_tokens = {{"bos_token", "<s>"}};
  const auto chat = align::ChatTemplate::Create(source);
  if (!chat.ok()) return 0;
  const std::string message(end == std::string_view::npos
                                ? std::string_view("h\xc3\xa9 <|im_end|>")
                                : all.substr(end + 1));
  const auto text =
      chat->Render({.messages = {{.role = "user", .content = message},
                                 {.role = "assistant", .content = "yes"}},
                    .tools = R"([{"name": "f", "n": [1, 2.5, null]}])"},
                   {.add_generation_prompt = true, .time = 0});
  if (!text.ok()) return 0;
  ALIGN_CHECK(align::IsUtf8(text->text())) << "not UTF-8";
  ALIGN_CHECK(text->runs().empty() ? text->empty()
                                   : text->runs().back().end == text->size())
      << "marks";
  return 0;
}
