#include "align/text/regex_syntax.h"

#include <algorithm>
#include <cctype>
#include <iterator>

namespace align {
namespace {

// Inside brackets. PCRE2's \s has U+180E, which is no white space any more; its
// \w lacks marks, and Oniguruma's has of other numbers those of Latin-1 alone.
constexpr std::string_view kSpace = "\\t-\\r\\x{85}\\p{Z}";
constexpr std::string_view kWord =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

// Names longer than two letters that are no scripts.
constexpr std::string_view kProperties[] = {"Alphabetic", "Emoji",
                                            "Ideographic", "Join_Control"};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        ALIGN_RETURN_IF_ERROR(Escape(/*in_class=*/false));
      } else if (c == '[') {
        ALIGN_RETURN_IF_ERROR(Class());
      } else if (c == '(') {
        ALIGN_RETURN_IF_ERROR(Group());
      } else if (c == '{') {
        ALIGN_RETURN_IF_ERROR(Interval());
      } else {
        Copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  char Peek(size_t ahead) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  void Copy(size_t count) {
    out_.append(pattern_.data() + at_, count);
    at_ += count;
  }
  void Replace(size_t count, std::string_view text) {
    out_.append(text.data(), text.size());
    at_ += count;
  }
  absl::Status Unsupported(size_t length) const {
    return Unimplemented("\"" + std::string(pattern_.substr(at_, length)) +
                         "\" at byte " + std::to_string(at_) +
                         " is not supported");
  }

  // The class of a letter such as \s, in or out of brackets; negation only
  // outside, where it can be brackets of its own.
  absl::Status Set(std::string_view set, bool negated, bool in_class) {
    if (in_class && negated) return Unsupported(2);
    out_ += in_class ? "" : negated ? "[^" : "[";
    out_.append(set.data(), set.size());
    if (!in_class) out_ += ']';
    at_ += 2;
    return absl::OkStatus();
  }

  absl::Status Escape(bool in_class) {
    const char c = Peek(1);
    switch (c) {
      case 's':
      case 'S':
        return Set(kSpace, c == 'S', in_class);
      case 'w':
      case 'W':
        return Set(kWord, c == 'W', in_class);
      case 'd':
        return Set("\\p{Nd}", false, in_class);
      case 'D':
        Replace(2, "\\P{Nd}");
        return absl::OkStatus();
      case 'p':
      case 'P':
        return Property();
      case 'v':  // vertical tab here, any vertical space in PCRE2
        Replace(2, "\\x0b");
        return absl::OkStatus();
      case 'u':
        return CodePoint();
      case 'r':
      case 'n':
      case 't':
      case 'f':
      case 'a':
      case 'e':
      case 'x':
        Copy(2);
        return absl::OkStatus();
      default:
        break;
    }
    if (c == '\0' || std::isalnum(static_cast<unsigned char>(c))) {
      return Unsupported(2);
    }
    Copy(2);
    return absl::OkStatus();
  }

  // \p{L}, \p{^L}, \p{Han}: PCRE2 reads a script's name as its extensions.
  absl::Status Property() {
    const size_t end = pattern_.find('}', at_);
    if (Peek(2) != '{' || end == std::string_view::npos) return Unsupported(3);
    const std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    const std::string_view bare = name.starts_with('^') ? name.substr(1) : name;
    out_.append(pattern_.data() + at_, 3);
    if (name.size() != bare.size()) out_ += '^';
    const bool is_script =
        bare.size() > 2 &&
        std::find(std::begin(kProperties), std::end(kProperties), bare) ==
            std::end(kProperties);
    if (is_script) out_ += "sc:";
    out_.append(bare.data(), bare.size());
    out_ += '}';
    at_ = end + 1;
    return absl::OkStatus();
  }

  // Backslash, u, four hexadecimal digits.
  absl::Status CodePoint() {
    for (size_t i = 2; i < 6; ++i) {
      if (!std::isxdigit(static_cast<unsigned char>(Peek(i)))) {
        return Unsupported(2);
      }
    }
    out_ += "\\x{" + std::string(pattern_.substr(at_ + 2, 4)) + "}";
    at_ += 6;
    return absl::OkStatus();
  }

  absl::Status Class() {
    Copy(1);
    if (Peek(0) == '^') Copy(1);
    if (Peek(0) == ']') return Unsupported(1);
    while (at_ < pattern_.size() && Peek(0) != ']') {
      if (Peek(0) == '\\') {
        ALIGN_RETURN_IF_ERROR(Escape(/*in_class=*/true));
      } else if (Peek(0) == '[') {
        return Unsupported(2);  // nested classes, and POSIX ones
      } else if (Peek(0) == '&' && Peek(1) == '&') {
        return Unsupported(2);
      } else {
        Copy(1);
      }
    }
    if (at_ < pattern_.size()) Copy(1);
    return absl::OkStatus();
  }

  absl::Status Group() {
    if (Peek(1) != '?') {
      Replace(1, Peek(1) == '*' ? "(?:" : "(");  // (*VERB) is PCRE2's alone
      return absl::OkStatus();
    }
    for (const std::string_view known :
         {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"}) {
      if (pattern_.substr(at_).starts_with(known)) {
        Copy(known.size());
        return absl::OkStatus();
      }
    }
    // (?i) counts to the end of its group in both, unless alternatives follow.
    if (at_ == 0 && pattern_.starts_with("(?i)") &&
        pattern_.find('|') == std::string_view::npos) {
      Copy(4);
      return absl::OkStatus();
    }
    return Unsupported(4);
  }

  // {n,m}: a plus after it repeats there, and forbids backtracking in PCRE2.
  absl::Status Interval() {
    const size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos || Peek(1) == ',') return Unsupported(2);
    if (end + 1 < pattern_.size() && pattern_[end + 1] == '+') {
      return Unsupported(end + 2 - at_);
    }
    Copy(end + 1 - at_);
    return absl::OkStatus();
  }

  std::string_view pattern_;
  std::string out_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<std::string> OnigurumaToPcre2(std::string_view pattern) {
  return Translator(pattern).Run();
}

}  // namespace align
