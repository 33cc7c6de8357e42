#pragma once

// Internal to align/text: Python's operations on strings, which count in
// characters, on texts that keep their marks. Every text is UTF-8.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/text/marked_text.h"

namespace align {

// Where each character starts, and the text's end.
std::vector<size_t> CharacterStarts(std::string_view text);
int64_t CountCharacters(std::string_view text);

// Whether Python's str.isspace says so.
bool IsJinjaSpace(char32_t c);

// Python's slice of a sequence of `length` items as the indices it takes; an
// empty bound is as in Python. `step` is not 0.
std::vector<size_t> SliceIndices(int64_t length, std::optional<int64_t> begin,
                                 std::optional<int64_t> end, int64_t step);
MarkedText SliceCharacters(const MarkedText& text, std::optional<int64_t> begin,
                           std::optional<int64_t> end, int64_t step);

// Which ends of a text are meant.
enum class TextEnd { kBoth, kLeft, kRight };
// str.strip and its kin; nullopt: white space, else any of these characters.
MarkedText Strip(const MarkedText& text, std::optional<std::string_view> chars,
                 TextEnd ends);

// str.split and str.rsplit (from the right) at white space, or at a separator
// that is not empty; `most` cuts, negative: any number.
std::vector<MarkedText> SplitSpace(const MarkedText& text, int64_t most,
                                   TextEnd from);
std::vector<MarkedText> SplitAt(const MarkedText& text,
                                std::string_view separator, int64_t most,
                                TextEnd from);
// str.splitlines, without the line ends.
std::vector<MarkedText> SplitLines(const MarkedText& text);

// The first `most` places of `old` replaced; negative: all of them.
MarkedText Replace(const MarkedText& text, std::string_view old,
                   const MarkedText& replacement, int64_t most);
// How often `part`, not empty, is there without overlap.
int64_t CountOf(std::string_view text, std::string_view part);

// Letter cases, a character at a time.
enum class LetterCase {
  kLower,
  kUpper,
  kCapitalize,   // the first is upper case, the others lower case
  kTitle,        // str.title: upper case after what has no case
  kFilterTitle,  // Jinja's title: upper case after white space, -({[<
  kSwap
};
MarkedText WithCase(const MarkedText& text, LetterCase to);

// &, <, >, " and ' as entities.
MarkedText EscapeHtml(const MarkedText& text);

}  // namespace align
