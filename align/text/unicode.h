#pragma once

// Internal to align/text: properties and normal forms of Unicode characters,
// over utf8proc. Every text here is well-formed UTF-8.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace align {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// `text` in a normal form of Unicode Standard Annex 15; O(n log n) at worst,
// for runs of combining marks.
std::string NormalizeUnicode(std::string_view text, UnicodeForm form);

// The first character of a text that is not empty.
struct Character {
  char32_t value;
  size_t length;  // bytes
};
Character FirstCharacter(std::string_view text);
void AppendCharacter(char32_t value, std::string& out);

bool IsWhiteSpace(char32_t c);   // the property White_Space
bool IsNumeric(char32_t c);      // Nd, Nl, No
bool IsPunctuation(char32_t c);  // P*, and all of ASCII's punctuation
bool IsMark(char32_t c);         // M*
// \w of Unicode Technical Standard 18: Alphabetic, M*, Nd, Pc, joiners.
bool IsWordCharacter(char32_t c);

// A character's own cases, without regard to its neighbours.
char32_t LowerCase(char32_t c);
char32_t UpperCase(char32_t c);
bool IsLetter(char32_t c);  // L*
bool IsCased(char32_t c);   // Lu, Ll, Lt

// Each character's own lower case, without regard to its neighbours.
std::string Lowercase(std::string_view text);

// Bytes of the first extended grapheme cluster of a text that is not empty.
size_t GraphemeLength(std::string_view text);

}  // namespace align
