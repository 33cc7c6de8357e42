#include "align/text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "align/text/unicode.h"
#include "align/text/utf8.h"

namespace align {
namespace {

using Kind = JinjaToken::Kind;

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

int HexDigit(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Longest first.
constexpr std::array<std::string_view, 25> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};

// `source` with "\n" for each line end, without a last one.
std::string NormalizedLines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizedLines(source)) {}

  absl::StatusOr<std::vector<JinjaToken>> Run();

 private:
  absl::Status Fail(const std::string& what) const {
    return InvalidArgument("line " + std::to_string(line_) + ": " + what);
  }
  bool At(std::string_view text) const {
    return std::string_view(source_).substr(at_).starts_with(text);
  }
  void Add(Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), line_});
  }
  // Moves on, counting lines.
  void Advance(size_t count) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<int64_t>(at_),
                   source_.begin() + static_cast<int64_t>(at_ + count), '\n'));
    at_ += count;
  }
  void SkipSpace() {
    while (at_ < source_.size() && IsSpace(source_[at_])) Advance(1);
  }

  // The text up to the tag at `tag`, which strips some of it.
  void AddText(size_t tag);
  absl::Status Comment();
  absl::Status Tag(Kind end, std::string_view closing);
  absl::Status EndTag(Kind end, std::string_view closing);
  // False: no {% raw %} starts here.
  absl::StatusOr<bool> Raw();
  // Goes past [-+]?%} if it is there.
  bool SkipBlockEnd();
  void TrimLineEnd() {
    if (at_ < source_.size() && source_[at_] == '\n') Advance(1);
  }
  absl::Status TokenInTag();
  absl::Status Number();
  absl::Status String();
  absl::Status Escape(std::string& value);
  absl::Status Hex(size_t digits, std::string& value);

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_start_ = true;  // what was read last ends a line
  std::vector<char> open_;  // brackets
  std::vector<JinjaToken> tokens_;
};

void Lexer::AddText(size_t tag) {
  std::string text = source_.substr(at_, tag - at_);
  const char third = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
  const bool block = tag < source_.size() && source_[tag + 1] != '{';
  if (tag < source_.size() && third == '-') {
    while (!text.empty() && IsSpace(text.back())) text.pop_back();
  } else if (block && third != '+') {
    size_t begin = text.rfind('\n');
    begin = begin == std::string::npos ? 0 : begin + 1;
    if ((begin > 0 || line_start_) &&
        std::all_of(text.begin() + static_cast<int64_t>(begin), text.end(),
                    IsSpace)) {
      text.resize(begin);
    }
  }
  if (!text.empty()) Add(Kind::kText, text);
  Advance(tag - at_);
}

absl::Status Lexer::Comment() {
  const size_t end = source_.find("#}", at_ + 2);
  if (end == std::string::npos) return Fail("a comment {# that does not end");
  // In "{#-#}" the one sign is at both ends.
  const char sign = source_[end - 1];
  Advance(end + 2 - at_);
  if (sign == '-') {
    SkipSpace();
  } else if (sign != '+') {
    TrimLineEnd();
  }
  line_start_ = source_[at_ - 1] == '\n';
  return absl::OkStatus();
}

bool Lexer::SkipBlockEnd() {
  for (const std::string_view end : {"%}", "-%}", "+%}"}) {
    if (!At(end)) continue;
    Advance(end.size());
    if (end[0] == '-') SkipSpace();
    if (end[0] == '%') TrimLineEnd();
    return true;
  }
  return false;
}

absl::StatusOr<bool> Lexer::Raw() {
  const auto is_tag = [&](size_t begin, std::string_view name) {
    size_t i = begin + 2;
    if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) ++i;
    while (i < source_.size() && IsSpace(source_[i])) ++i;
    if (source_.compare(i, name.size(), name) != 0) return size_t{0};
    i += name.size();
    while (i < source_.size() && IsSpace(source_[i])) ++i;
    const std::string_view rest = std::string_view(source_).substr(i);
    return rest.starts_with("%}") || rest.starts_with("-%}") ||
                   rest.starts_with("+%}")
               ? i
               : size_t{0};
  };
  const size_t end = is_tag(at_, "raw");
  if (end == 0) return false;
  Advance(end - at_);
  SkipBlockEnd();
  line_start_ = source_[at_ - 1] == '\n';
  for (size_t tag = source_.find("{%", at_); tag != std::string::npos;
       tag = source_.find("{%", tag + 2)) {
    const size_t after = is_tag(tag, "endraw");
    if (after == 0) continue;
    AddText(tag);
    Advance(after - at_);
    SkipBlockEnd();
    line_start_ = source_[at_ - 1] == '\n';
    return true;
  }
  return Fail("a block {% raw %} that does not end");
}

absl::Status Lexer::EndTag(Kind end, std::string_view closing) {
  const char sign = source_[at_];
  Add(end, std::string(closing));
  Advance(closing.size() + (sign == closing[0] ? 0 : 1));
  if (sign == '-') SkipSpace();
  if (end == Kind::kBlockEnd && sign == '%') TrimLineEnd();
  line_start_ = source_[at_ - 1] == '\n';
  return absl::OkStatus();
}

absl::Status Lexer::Tag(Kind end, std::string_view closing) {
  const int begin_line = line_;
  open_.clear();
  while (true) {
    SkipSpace();
    if (at_ >= source_.size()) {
      line_ = begin_line;
      return Fail("a tag that does not end; " + std::string(closing) +
                  " expected");
    }
    const std::string minus = "-" + std::string(closing);
    const std::string plus = "+" + std::string(closing);
    if (open_.empty() &&
        (At(closing) || At(minus) || (end == Kind::kBlockEnd && At(plus)))) {
      return EndTag(end, closing);
    }
    ALIGN_RETURN_IF_ERROR(TokenInTag());
  }
}

absl::Status Lexer::TokenInTag() {
  const char c = source_[at_];
  if (IsNameStart(c)) {
    size_t end = at_ + 1;
    while (end < source_.size() &&
           (IsNameStart(source_[end]) || IsDigit(source_[end]))) {
      ++end;
    }
    Add(Kind::kName, source_.substr(at_, end - at_));
    Advance(end - at_);
    return absl::OkStatus();
  }
  if (IsDigit(c)) return Number();
  if (c == '"' || c == '\'') return String();
  for (const std::string_view op : kOperators) {
    if (!At(op)) continue;
    if (c == '(' || c == '[' || c == '{') open_.push_back(c);
    if (c == ')' || c == ']' || c == '}') {
      const char opener = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open_.empty() || open_.back() != opener) {
        return Fail(std::string("a \"") + c + "\" that closes nothing");
      }
      open_.pop_back();
    }
    Add(Kind::kOperator, std::string(op));
    Advance(op.size());
    return absl::OkStatus();
  }
  const size_t length =
      std::max<size_t>(Utf8CharacterLength(source_.substr(at_, 4)), 1);
  return Fail("the character \"" + source_.substr(at_, length) +
              "\" has no meaning in a tag");
}

absl::Status Lexer::Number() {
  size_t end = at_;
  const auto digits = [&] {
    while (end < source_.size() &&
           (IsDigit(source_[end]) || source_[end] == '_')) {
      ++end;
    }
  };
  digits();
  bool real = false;
  if (end + 1 < source_.size() && source_[end] == '.' &&
      IsDigit(source_[end + 1])) {
    real = true;
    ++end;
    digits();
  }
  if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
    size_t after = end + 1;
    if (after < source_.size() &&
        (source_[after] == '+' || source_[after] == '-')) {
      ++after;
    }
    if (after < source_.size() && IsDigit(source_[after])) {
      real = true;
      end = after;
      digits();
    }
  }
  std::string text = source_.substr(at_, end - at_);
  std::erase(text, '_');
  if (end < source_.size() && IsNameStart(source_[end])) {
    return Fail("the number \"" +
                source_.substr(at_, end + 1 - at_).substr(0, 40) +
                "\"; decimal digits expected");
  }
  Add(real ? Kind::kFloat : Kind::kInteger, std::move(text));
  Advance(end - at_);
  return absl::OkStatus();
}

absl::Status Lexer::Hex(size_t digits, std::string& value) {
  uint32_t code = 0;
  for (size_t i = 0; i < digits; ++i) {
    const int digit =
        at_ + i < source_.size() ? HexDigit(source_[at_ + i]) : -1;
    if (digit < 0) {
      return Fail("a string escape with fewer than " + std::to_string(digits) +
                  " hexadecimal digits");
    }
    code = code * 16 + static_cast<uint32_t>(digit);
  }
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    return Fail("a string escape that is no character");
  }
  AppendCharacter(code, value);
  at_ += digits;
  return absl::OkStatus();
}

// Python's escapes, after the backslash.
absl::Status Lexer::Escape(std::string& value) {
  const char c = source_[at_++];
  constexpr std::string_view kFrom = "\\'\"abfnrtv";
  constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
  if (const size_t i = kFrom.find(c); i != std::string_view::npos) {
    value += kTo[i];
  } else if (c == 'x') {
    return Hex(2, value);
  } else if (c == 'u') {
    return Hex(4, value);
  } else if (c == 'U') {
    return Hex(8, value);
  } else if (c == 'N') {
    return Unimplemented("line " + std::to_string(line_) +
                         ": string escapes by name (\\N) are outside the "
                         "subset");
  } else if (c >= '0' && c <= '7') {
    uint32_t code = static_cast<uint32_t>(c - '0');
    for (int i = 0; i < 2 && at_ < source_.size() && source_[at_] >= '0' &&
                    source_[at_] <= '7';
         ++i) {
      code = code * 8 + static_cast<uint32_t>(source_[at_++] - '0');
    }
    AppendCharacter(code, value);
  } else if (c == '\n') {
    ++line_;  // a line that goes on
  } else {
    value += '\\';
    value += c;
  }
  return absl::OkStatus();
}

absl::Status Lexer::String() {
  const int begin_line = line_;
  const char quote = source_[at_++];
  std::string value;
  while (at_ < source_.size() && source_[at_] != quote) {
    if (source_[at_] == '\\' && at_ + 1 < source_.size()) {
      ++at_;
      ALIGN_RETURN_IF_ERROR(Escape(value));
      continue;
    }
    line_ += source_[at_] == '\n';
    value += source_[at_++];
  }
  if (at_ >= source_.size()) {
    line_ = begin_line;
    return Fail("a string that does not end");
  }
  ++at_;
  tokens_.push_back({Kind::kString, std::move(value), begin_line});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<JinjaToken>> Lexer::Run() {
  if (!IsUtf8(source_)) return Fail("the template is not UTF-8");
  while (at_ < source_.size()) {
    size_t tag = at_;
    while ((tag = source_.find('{', tag)) != std::string::npos) {
      const char next = tag + 1 < source_.size() ? source_[tag + 1] : ' ';
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    if (tag == std::string::npos) {
      AddText(source_.size());
      break;
    }
    AddText(tag);
    if (At("{#")) {
      ALIGN_RETURN_IF_ERROR(Comment());
      continue;
    }
    const bool block = At("{%");
    if (block) {
      ALIGN_ASSIGN_OR_RETURN(const bool raw, Raw());
      if (raw) continue;
    }
    Add(block ? Kind::kBlockBegin : Kind::kOutputBegin, block ? "{%" : "{{");
    const char sign = at_ + 2 < source_.size() ? source_[at_ + 2] : ' ';
    Advance(sign == '-' || sign == '+' ? 3 : 2);
    ALIGN_RETURN_IF_ERROR(block ? Tag(Kind::kBlockEnd, "%}")
                                : Tag(Kind::kOutputEnd, "}}"));
  }
  Add(Kind::kEnd, "");
  return std::move(tokens_);
}

}  // namespace

absl::StatusOr<std::vector<JinjaToken>> LexJinja(std::string_view source) {
  return Lexer(source).Run();
}

}  // namespace align
