#include "align/text/utf8.h"

#include <simdjson.h>

#include <algorithm>
#include <cstdint>

namespace align {
namespace {

constexpr char kReplacement[] = "\xef\xbf\xbd";  // U+FFFD

// Whether 0x80 bytes after `text` (2 or 3 bytes) can make it one character: the
// second byte is what its lead byte allows.
bool IsBeginning(std::string_view text) {
  std::string whole(text);
  while (whole.size() < 4) {
    whole += '\x80';
    if (Utf8CharacterLength(whole) == whole.size()) return true;
  }
  return false;
}

// Bytes (1-3) of the longest beginning of a character at the start of `text`,
// which does not start with a whole one; 1 when there is none.
size_t SubpartLength(std::string_view text) {
  for (size_t length = std::min<size_t>(3, text.size()); length > 1; --length) {
    if (IsBeginning(text.substr(0, length))) return length;
  }
  return 1;
}

template <typename Length>
std::string ReplaceMalformed(std::string_view text, const Length& length_of) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    size_t length = Utf8CharacterLength(text);
    if (length > 0) {
      out.append(text.data(), length);
    } else {
      length = length_of(text);
      out += kReplacement;
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace

size_t Utf8CharacterLength(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto follows = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) {
    return text.size() >= 2 && follows(1) ? 2 : 0;
  }
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (text.size() < 3 || !follows(1) || !follows(2)) return 0;
    if (lead == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
    if (lead == 0xED && byte(1) > 0x9F) return 0;  // surrogate
    return 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (text.size() < 4 || !follows(1) || !follows(2) || !follows(3)) return 0;
    if (lead == 0xF0 && byte(1) < 0x90) return 0;  // overlong
    if (lead == 0xF4 && byte(1) > 0x8F) return 0;  // above U+10FFFF
    return 4;
  }
  return 0;
}

bool IsUtf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

std::string ReplaceMalformedBytes(std::string_view text) {
  return ReplaceMalformed(text, [](std::string_view) { return size_t{1}; });
}

std::string ReplaceMalformedSubparts(std::string_view text) {
  return ReplaceMalformed(text, SubpartLength);
}

size_t UnfinishedSuffix(std::string_view text) {
  for (size_t length = std::min<size_t>(3, text.size()); length > 0; --length) {
    const std::string_view end = text.substr(text.size() - length);
    const auto lead = static_cast<uint8_t>(end[0]);
    const bool begins = length == 1
                            ? lead >= 0xC2 && lead <= 0xF4
                            : Utf8CharacterLength(end) == 0 && IsBeginning(end);
    if (begins) return length;
  }
  return 0;
}

}  // namespace align
