#pragma once

#include <cstddef>
#include <string_view>

namespace align {

// Bytes of the well-formed UTF-8 character that `text` starts with (1-4), or 0
// when `text` is empty or starts with anything else (a stray continuation, an
// overlong form, a surrogate, a value above U+10FFFF, a cut character).
size_t Utf8CharacterLength(std::string_view text);

// Whether all of `text` is well-formed UTF-8.
bool IsUtf8(std::string_view text);

}  // namespace align
