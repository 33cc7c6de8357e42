#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace align {

// Bytes of the well-formed UTF-8 character that `text` starts with (1-4), or 0
// when `text` is empty or starts with anything else (a stray continuation, an
// overlong form, a surrogate, a value above U+10FFFF, a cut character).
size_t Utf8CharacterLength(std::string_view text);

// Whether all of `text` is well-formed UTF-8.
bool IsUtf8(std::string_view text);

// `text` with U+FFFD for each byte that is not part of a character.
std::string ReplaceMalformedBytes(std::string_view text);
// The same with one U+FFFD for each longest beginning of a character.
std::string ReplaceMalformedSubparts(std::string_view text);

// Bytes at the end of `text` that more bytes could make a character (0-3).
size_t UnfinishedSuffix(std::string_view text);

}  // namespace align
