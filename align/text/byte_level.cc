#include "align/text/byte_level.h"

#include <array>
#include <cstdint>

#include "align/text/unicode.h"

namespace align {
namespace {

struct Alphabet {
  std::array<char32_t, 256> characters{};
  std::array<int16_t, 512> bytes{};  // -1: not of the alphabet
};

// Bytes that print stay; the others take the characters from U+0100 on.
constexpr Alphabet MakeAlphabet() {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.bytes) byte = -1;
  char32_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= '!' && byte <= '~') ||
                        (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const char32_t c = prints ? static_cast<char32_t>(byte) : next++;
    alphabet.characters[byte] = c;
    alphabet.bytes[c] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = MakeAlphabet();

}  // namespace

std::string BytesToByteLevel(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) {
    AppendCharacter(kAlphabet.characters[static_cast<uint8_t>(byte)], out);
  }
  return out;
}

std::optional<std::string> ByteLevelToBytes(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character c = FirstCharacter(text);
    text.remove_prefix(c.length);
    if (c.value >= kAlphabet.bytes.size() || kAlphabet.bytes[c.value] < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(kAlphabet.bytes[c.value]));
  }
  return out;
}

}  // namespace align
