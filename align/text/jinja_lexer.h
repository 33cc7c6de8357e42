#pragma once

// Internal to align/text: a Jinja template cut into tokens.

#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"

namespace align {

struct JinjaToken {
  enum class Kind {
    kText,         // between tags; `text` is what is printed
    kOutputBegin,  // {{
    kOutputEnd,    // }}
    kBlockBegin,   // {%
    kBlockEnd,     // %}
    kName,
    kString,  // `text` is its value
    kInteger,
    kFloat,
    kOperator,  // + - * / // % ** ~ [ ] ( ) { } == != > >= < <= = . : | ,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 1;
};

// The tokens of a template, with kEnd at the end, as Jinja cuts it with
// trim_blocks and lstrip_blocks on and keep_trailing_newline off: a line end
// right after a block or comment is dropped, as is white space on a line before
// one, and "-" takes all white space on its side. Comments are left out;
// {% raw %} is text. kInvalidArgument "line N: ..." says what is malformed.
absl::StatusOr<std::vector<JinjaToken>> LexJinja(std::string_view source);

}  // namespace align
