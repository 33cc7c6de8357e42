#pragma once

// Internal to align/text: GPT-2's alphabet, in which each byte is one printable
// character. Source: Radford et al. 2019, encoder.py, bytes_to_unicode.

#include <optional>
#include <string>
#include <string_view>

namespace align {

// Each byte's character: " the" becomes "\u0120the".
std::string BytesToByteLevel(std::string_view bytes);

// The bytes that the characters of `text` stand for; nullopt when one of them
// is not of the alphabet.
std::optional<std::string> ByteLevelToBytes(std::string_view text);

}  // namespace align
