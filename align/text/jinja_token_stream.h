#pragma once

// Internal to align/text: the tokens that the two parsers share.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/text/jinja_lexer.h"

namespace align {

// A place in the tokens of a template. The last token is kEnd, and stays.
class JinjaTokenStream {
 public:
  explicit JinjaTokenStream(std::vector<JinjaToken> tokens)
      : tokens_(std::move(tokens)) {}

  const JinjaToken& Peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const JinjaToken& Next() {
    const JinjaToken& token = Peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }

  bool AtOperator(std::string_view text, size_t ahead = 0) const {
    return Peek(ahead).kind == JinjaToken::Kind::kOperator &&
           Peek(ahead).text == text;
  }
  bool AtName(std::string_view text, size_t ahead = 0) const {
    return Peek(ahead).kind == JinjaToken::Kind::kName &&
           Peek(ahead).text == text;
  }
  bool Take(std::string_view op) {
    if (!AtOperator(op)) return false;
    Next();
    return true;
  }
  bool TakeName(std::string_view name) {
    if (!AtName(name)) return false;
    Next();
    return true;
  }

  // kInvalidArgument "line N: ... expected, ... found".
  absl::Status Unexpected(std::string_view expected) const;
  absl::Status Expect(std::string_view op);
  absl::StatusOr<std::string> ExpectName(std::string_view what);

 private:
  std::vector<JinjaToken> tokens_;
  size_t at_ = 0;
};

}  // namespace align
