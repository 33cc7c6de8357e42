#include "align/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "align/base/check.h"

namespace align {
namespace {

int Category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

int CombiningClass(utf8proc_int32_t c) {
  return utf8proc_get_property(c)->combining_class;
}

// Lead bytes below this start characters that are their own normal form and
// never join the character before them. NFC: those below U+0300; else ASCII.
uint8_t SafeBound(UnicodeForm form) {
  return form == UnicodeForm::kNfc ? 0xCC : 0x80;
}

// Full decomposition of each character, in the order of the text.
std::vector<utf8proc_int32_t> Decompose(std::string_view text, int options) {
  std::vector<utf8proc_int32_t> out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character c = FirstCharacter(text);
    text.remove_prefix(c.length);
    utf8proc_int32_t parts[32];  // the longest decomposition has 18
    int boundary = 0;
    const auto count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c.value), parts, 32,
        static_cast<utf8proc_option_t>(options), &boundary);
    ALIGN_CHECK(count >= 0 && count <= 32)
        << "character " << static_cast<uint32_t>(c.value);
    out.insert(out.end(), parts, parts + count);
  }
  return out;
}

// Canonical ordering. utf8proc's own is quadratic in a run of marks.
void OrderMarks(std::vector<utf8proc_int32_t>& points) {
  for (size_t i = 0; i < points.size();) {
    if (CombiningClass(points[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < points.size() && CombiningClass(points[end]) != 0) ++end;
    std::stable_sort(
        points.begin() + static_cast<std::ptrdiff_t>(i),
        points.begin() + static_cast<std::ptrdiff_t>(end),
        [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
    i = end;
  }
}

void AppendNormalized(std::string_view text, UnicodeForm form,
                      std::string& out) {
  const bool compatible =
      form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  std::vector<utf8proc_int32_t> points =
      Decompose(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                          (compatible ? UTF8PROC_COMPAT : 0));
  OrderMarks(points);
  auto count = static_cast<utf8proc_ssize_t>(points.size());
  if (compose) {
    count = utf8proc_normalize_utf32(
        points.data(), count,
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    ALIGN_CHECK(count >= 0) << utf8proc_errmsg(count);
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    AppendCharacter(static_cast<char32_t>(points[i]), out);
  }
}

}  // namespace

std::string NormalizeUnicode(std::string_view text, UnicodeForm form) {
  const uint8_t bound = SafeBound(form);
  const auto byte = [&text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto starts = [&](size_t i) { return (byte(i) & 0xC0) != 0x80; };
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    if (byte(i) < bound) {
      ++i;
      continue;
    }
    // From the safe character before, which may take marks, up to the next.
    size_t begin = i;
    while (begin > done && !starts(--begin)) {
    }
    while (i < text.size() && (!starts(i) || byte(i) >= bound)) ++i;
    out.append(text.data() + done, begin - done);
    AppendNormalized(text.substr(begin, i - begin), form, out);
    done = i;
  }
  out.append(text.data() + done, text.size() - done);
  return out;
}

Character FirstCharacter(std::string_view text) {
  const auto byte = [&](size_t i) -> char32_t {
    return static_cast<uint8_t>(text[i]);
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) {
    return {(lead & 0xF) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  }
  return {(lead & 7) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 |
              (byte(3) & 0x3F),
          4};
}

void AppendCharacter(char32_t value, std::string& out) {
  const auto put = [&out](char32_t byte) {
    out.push_back(static_cast<char>(byte));
  };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | value >> 6);
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | value >> 12);
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | value >> 18);
    put(0x80 | (value >> 12 & 0x3F));
    put(0x80 | (value >> 6 & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsNumeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const int category = Category(c);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_NO;
}

bool IsPunctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) ||
           (c >= 0x5B && c <= 0x60) || (c >= 0x7B && c <= 0x7E);
  }
  const int category = Category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool IsMark(char32_t c) {
  const int category = Category(c);
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool IsWordCharacter(char32_t c) {
  const int category = Category(c);
  if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) {
    return true;
  }
  // Connectors, joiners, and the letters in circles and squares.
  return category == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D ||
         (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

char32_t LowerCase(char32_t c) {
  return static_cast<char32_t>(
      utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

char32_t UpperCase(char32_t c) {
  return static_cast<char32_t>(
      utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}

bool IsLetter(char32_t c) {
  const int category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsCased(char32_t c) {
  const int category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

std::string Lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character c = FirstCharacter(text);
    text.remove_prefix(c.length);
    if (c.value == 0x130) {  // the one whose lower case is two characters
      out += "i\xcc\x87";
      continue;
    }
    AppendCharacter(static_cast<char32_t>(utf8proc_tolower(
                        static_cast<utf8proc_int32_t>(c.value))),
                    out);
  }
  return out;
}

size_t GraphemeLength(std::string_view text) {
  Character c = FirstCharacter(text);
  size_t length = c.length;
  utf8proc_int32_t state = 0;
  while (length < text.size()) {
    const Character next = FirstCharacter(text.substr(length));
    if (utf8proc_grapheme_break_stateful(
            static_cast<utf8proc_int32_t>(c.value),
            static_cast<utf8proc_int32_t>(next.value), &state)) {
      break;
    }
    length += next.length;
    c = next;
  }
  return length;
}

}  // namespace align
