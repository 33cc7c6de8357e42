#include "align/text/jinja_token_stream.h"

namespace align {

absl::Status JinjaTokenStream::Unexpected(std::string_view expected) const {
  const JinjaToken& token = Peek();
  std::string found = "\"" + token.text.substr(0, 40) + "\"";
  if (token.kind == JinjaToken::Kind::kEnd) found = "the template's end";
  if (token.kind == JinjaToken::Kind::kText) found = "text";
  return InvalidArgument("line " + std::to_string(token.line) + ": " +
                         std::string(expected) + " expected, " + found +
                         " found");
}

absl::Status JinjaTokenStream::Expect(std::string_view op) {
  if (Take(op)) return absl::OkStatus();
  return Unexpected("\"" + std::string(op) + "\"");
}

absl::StatusOr<std::string> JinjaTokenStream::ExpectName(
    std::string_view what) {
  if (Peek().kind != JinjaToken::Kind::kName) return Unexpected(what);
  return Next().text;
}

}  // namespace align
