#include "align/text/jinja_text.h"

#include <algorithm>

#include "align/text/unicode.h"

namespace align {
namespace {

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
         c == 0x2028 || c == 0x2029;
}

bool IsTitleBreak(char32_t c) {
  return IsJinjaSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' ||
         c == '<';
}

// The whole characters of `text` between which it is cut.
class Characters {
 public:
  explicit Characters(std::string_view text)
      : text_(text), starts_(CharacterStarts(text)) {}
  size_t count() const { return starts_.size() - 1; }
  size_t start(size_t i) const { return starts_[i]; }
  char32_t operator[](size_t i) const {
    return FirstCharacter(text_.substr(starts_[i])).value;
  }

 private:
  std::string_view text_;
  std::vector<size_t> starts_;
};

}  // namespace

std::vector<size_t> CharacterStarts(std::string_view text) {
  std::vector<size_t> starts;
  starts.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] & 0xC0) != 0x80) starts.push_back(i);
  }
  starts.push_back(text.size());
  return starts;
}

int64_t CountCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (c & 0xC0) != 0x80; });
}

bool IsJinjaSpace(char32_t c) {
  return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F);
}

std::vector<size_t> SliceIndices(int64_t length, std::optional<int64_t> begin,
                                 std::optional<int64_t> end, int64_t step) {
  const auto clamp = [&](std::optional<int64_t> bound, int64_t otherwise) {
    if (!bound) return otherwise;
    const int64_t low = step > 0 ? 0 : -1;
    const int64_t high = step > 0 ? length : length - 1;
    if (*bound < 0)
      return std::max(low, *bound < -length ? low : *bound + length);
    return std::min(*bound, high);
  };
  const int64_t first = clamp(begin, step > 0 ? 0 : length - 1);
  const int64_t last = clamp(end, step > 0 ? length : -1);
  std::vector<size_t> indices;
  int64_t at = first;
  while (step > 0 ? at < last : at > last) {
    indices.push_back(static_cast<size_t>(at));
    if (step > 0 ? step >= last - at : step <= last - at) break;
    at += step;
  }
  return indices;
}

MarkedText SliceCharacters(const MarkedText& text, std::optional<int64_t> begin,
                           std::optional<int64_t> end, int64_t step) {
  const std::vector<size_t> starts = CharacterStarts(text.text());
  const std::vector<size_t> indices =
      SliceIndices(static_cast<int64_t>(starts.size()) - 1, begin, end, step);
  MarkedText out;
  if (indices.empty()) return out;
  if (step == 1) {
    return text.Slice(starts[indices.front()], starts[indices.back() + 1]);
  }
  for (const size_t i : indices) {
    out.Append(text.Slice(starts[i], starts[i + 1]));
  }
  return out;
}

MarkedText Strip(const MarkedText& text, std::optional<std::string_view> chars,
                 TextEnd ends) {
  const Characters all(text.text());
  const auto goes = [&](size_t i) {
    if (!chars) return IsJinjaSpace(all[i]);
    const std::string_view c(text.text().data() + all.start(i),
                             all.start(i + 1) - all.start(i));
    return chars->find(c) != std::string_view::npos;
  };
  size_t begin = 0, end = all.count();
  if (ends != TextEnd::kRight) {
    while (begin < end && goes(begin)) ++begin;
  }
  if (ends != TextEnd::kLeft) {
    while (end > begin && goes(end - 1)) --end;
  }
  return text.Slice(all.start(begin), all.start(end));
}

std::vector<MarkedText> SplitSpace(const MarkedText& text, int64_t most,
                                   TextEnd from) {
  const Characters all(text.text());
  const bool right = from == TextEnd::kRight;
  std::vector<MarkedText> parts;
  size_t begin = 0, end = all.count();
  while (true) {
    while (begin < end && IsJinjaSpace(all[right ? end - 1 : begin])) {
      right ? --end : ++begin;
    }
    if (begin == end) break;
    if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) {
      // The rest, whose far end keeps its white space.
      parts.push_back(text.Slice(all.start(right ? 0 : begin),
                                 all.start(right ? end : all.count())));
      break;
    }
    size_t at = right ? end : begin;
    while (right ? at > begin && !IsJinjaSpace(all[at - 1])
                 : at < end && !IsJinjaSpace(all[at])) {
      right ? --at : ++at;
    }
    parts.push_back(
        text.Slice(all.start(right ? at : begin), all.start(right ? end : at)));
    (right ? end : begin) = at;
  }
  if (right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<MarkedText> SplitAt(const MarkedText& text,
                                std::string_view separator, int64_t most,
                                TextEnd from) {
  const std::string& all = text.text();
  const bool right = from == TextEnd::kRight;
  std::vector<MarkedText> parts;
  size_t begin = 0, end = all.size();
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    size_t at = std::string::npos;
    if (!right) {
      at = all.find(separator, begin);
    } else if (end >= separator.size()) {
      at = all.rfind(separator, end - separator.size());
    }
    if (at == std::string::npos) break;
    if (right) {
      parts.push_back(text.Slice(at + separator.size(), end));
      end = at;
    } else {
      parts.push_back(text.Slice(begin, at));
      begin = at + separator.size();
    }
  }
  parts.push_back(text.Slice(begin, end));
  if (right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<MarkedText> SplitLines(const MarkedText& text) {
  const Characters all(text.text());
  std::vector<MarkedText> lines;
  size_t begin = 0;
  for (size_t i = 0; i < all.count(); ++i) {
    if (!IsLineEnd(all[i])) continue;
    lines.push_back(text.Slice(all.start(begin), all.start(i)));
    if (all[i] == '\r' && i + 1 < all.count() && all[i + 1] == '\n') ++i;
    begin = i + 1;
  }
  if (begin < all.count()) {
    lines.push_back(text.Slice(all.start(begin), text.size()));
  }
  return lines;
}

MarkedText Replace(const MarkedText& text, std::string_view old,
                   const MarkedText& replacement, int64_t most) {
  MarkedText out;
  const std::string& all = text.text();
  const auto more = [&] { return most < 0 || most-- > 0; };
  if (old.empty()) {  // before each character and at the end
    const std::vector<size_t> starts = CharacterStarts(all);
    for (size_t i = 0; i < starts.size(); ++i) {
      if (most != 0 && more()) out.Append(replacement);
      if (i + 1 < starts.size()) {
        out.Append(text.Slice(starts[i], starts[i + 1]));
      }
    }
    return out;
  }
  size_t begin = 0;
  for (size_t at = all.find(old); at != std::string::npos && most != 0;
       at = all.find(old, begin)) {
    if (!more()) break;
    out.Append(text.Slice(begin, at));
    out.Append(replacement);
    begin = at + old.size();
  }
  out.Append(text.Slice(begin, all.size()));
  return out;
}

int64_t CountOf(std::string_view text, std::string_view part) {
  int64_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

MarkedText WithCase(const MarkedText& text, LetterCase to) {
  MarkedText out;
  size_t at = 0;
  bool first = true;  // of the text or of a word
  const auto append = [&](char32_t c, bool upper, uint8_t marks) {
    std::string piece;
    if (upper && c == 0xDF) {
      piece = to == LetterCase::kUpper ? "SS" : "Ss";
    } else if (!upper && c == 0x130) {
      piece = "i\xcc\x87";
    } else {
      AppendCharacter(upper ? UpperCase(c) : LowerCase(c), piece);
    }
    out.Append(piece, marks);
  };
  for (const MarkedText::Run& run : text.runs()) {
    while (at < run.end) {
      const Character c =
          FirstCharacter(std::string_view(text.text()).substr(at));
      at += c.length;
      bool upper = to == LetterCase::kUpper;
      if (to == LetterCase::kSwap) {
        upper = LowerCase(c.value) == c.value;
      } else if (to != LetterCase::kUpper && to != LetterCase::kLower) {
        upper = first;
      }
      append(c.value, upper, run.marks);
      if (to == LetterCase::kTitle) {
        first = !IsCased(c.value);
      } else {
        first = to == LetterCase::kFilterTitle && IsTitleBreak(c.value);
      }
    }
  }
  return out;
}

MarkedText EscapeHtml(const MarkedText& text) {
  MarkedText out;
  size_t begin = 0;
  for (const MarkedText::Run& run : text.runs()) {
    for (; begin < run.end; ++begin) {
      const char c = text.text()[begin];
      const std::string_view one(&text.text()[begin], 1);
      out.Append(c == '&'    ? "&amp;"
                 : c == '<'  ? "&lt;"
                 : c == '>'  ? "&gt;"
                 : c == '"'  ? "&#34;"
                 : c == '\'' ? "&#39;"
                             : one,
                 run.marks);
    }
  }
  return out;
}

}  // namespace align
