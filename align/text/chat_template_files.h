#pragma once

#include <string>
#include <string_view>

#include "align/base/status.h"
#include "align/text/chat_template.h"

namespace align {

// The chat templates and special tokens of a Hugging Face model directory, as
// transformers reads them: chat_template.jinja and
// additional_chat_templates/NAME.jinja, else chat_template.json, else
// `chat_template` of tokenizer_config.json, a text or a list of named ones. A
// directory that has none gives no templates. Nothing is parsed as Jinja.
// kInvalidArgument: a malformed file.
absl::StatusOr<ChatTemplateSource> LoadChatTemplates(
    const std::string& model_dir);

// The same from the text of a tokenizer_config.json; `name` stands for its path
// in errors.
absl::StatusOr<ChatTemplateSource> ParseChatTemplates(std::string_view json,
                                                      const std::string& name);

// A template by what a user wrote: the name of a built-in, a file of Jinja, or
// a tokenizer_config.json. Special tokens are the file's, if it has any.
// kNotFound: neither a built-in nor a file.
absl::StatusOr<ChatTemplateSource> FindChatTemplate(const std::string& name);

}  // namespace align
