#include "align/text/sentencepiece_normalizer.h"

#include <cstring>
#include <utility>

#include "align/text/utf8.h"

namespace align {
namespace {

constexpr std::string_view kSpaceSymbol = "\xe2\x96\x81";  // U+2581
constexpr std::string_view kSpace = " ";
constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// Fields of a Darts-clone double-array unit.
bool HasLeaf(uint32_t unit) { return ((unit >> 8) & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t Label(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t Offset(uint32_t unit) {
  return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

}  // namespace

absl::StatusOr<SentencePieceNormalizer> SentencePieceNormalizer::Make(
    Options options) {
  SentencePieceNormalizer normalizer;
  const std::string& map = options.charsmap;
  if (!map.empty()) {
    // uint32 size of the trie in bytes, the trie, NUL-terminated replacements.
    uint32_t trie_bytes = 0;
    if (map.size() <= sizeof trie_bytes) {
      return InvalidArgument(std::string("precompiled_charsmap: ") +
                             std::to_string(map.size()) +
                             " bytes; more than 4 expected");
    }
    std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
    if (trie_bytes == 0 || trie_bytes % sizeof(uint32_t) != 0 ||
        trie_bytes >= map.size() - sizeof trie_bytes || map.back() != '\0') {
      return InvalidArgument(
          std::string("precompiled_charsmap: trie of ") +
          std::to_string(trie_bytes) + " bytes in a map of " +
          std::to_string(map.size()) +
          "; whole 4-byte units and a NUL-terminated rest expected");
    }
    normalizer.trie_.resize(trie_bytes / sizeof(uint32_t));
    std::memcpy(normalizer.trie_.data(), map.data() + sizeof trie_bytes,
                trie_bytes);
    normalizer.replacements_begin_ = sizeof trie_bytes + trie_bytes;
  }
  normalizer.options_ = std::move(options);
  return normalizer;
}

size_t SentencePieceNormalizer::VerbatimPrefix(std::string_view text) const {
  size_t longest = 0;
  for (const std::string& symbol : options_.verbatim) {
    if (symbol.size() > longest && text.starts_with(symbol)) {
      longest = symbol.size();
    }
  }
  return longest;
}

std::string_view SentencePieceNormalizer::ReplacementText(
    uint32_t offset) const {
  // The map ends in NUL, checked by Make, so the view ends inside it.
  const size_t begin = replacements_begin_ + offset;
  if (begin >= options_.charsmap.size()) return kReplacement;
  return std::string_view(options_.charsmap.data() + begin);
}

SentencePieceNormalizer::Replacement SentencePieceNormalizer::Lookup(
    std::string_view text, Entry wanted) const {
  Replacement best{.text = {}, .consumed = 0};
  if (trie_.empty()) return best;
  size_t node = Offset(trie_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= trie_.size() || Label(trie_[node]) != byte) break;
    const uint32_t unit = trie_[node];
    node ^= Offset(unit);
    if (!HasLeaf(unit)) continue;
    if (node >= trie_.size()) break;
    best = {.text = ReplacementText(Value(trie_[node])), .consumed = i + 1};
    if (wanted == Entry::kShortest) break;
  }
  return best;
}

std::optional<std::string_view> SentencePieceNormalizer::ShortestMapping(
    std::string_view text) const {
  const Replacement mapped = Lookup(text, Entry::kShortest);
  if (mapped.consumed == 0) return std::nullopt;
  return mapped.text;
}

SentencePieceNormalizer::Replacement SentencePieceNormalizer::Next(
    std::string_view text) const {
  if (const size_t length = VerbatimPrefix(text); length > 0) {
    return {.text = text.substr(0, length), .consumed = length};
  }
  const Replacement mapped = Lookup(text, Entry::kLongest);
  if (mapped.consumed > 0) return mapped;
  const size_t length = Utf8CharacterLength(text);
  if (length == 0) return {.text = kReplacement, .consumed = 1};
  return {.text = text.substr(0, length), .consumed = length};
}

std::string SentencePieceNormalizer::Normalize(std::string_view text,
                                               bool continuation) const {
  const std::string_view space =
      options_.escape_whitespaces ? kSpaceSymbol : kSpace;
  const bool trim = options_.remove_extra_whitespaces;
  if (trim && !continuation) {
    while (!text.empty()) {
      const Replacement next = Next(text);
      if (next.text != kSpace) break;
      text.remove_prefix(next.consumed);
    }
  }
  std::string out;
  if (text.empty()) return out;
  out.reserve(text.size() * 3 / 2 + space.size());
  if (options_.add_dummy_prefix && !continuation)
    out.append(space.data(), space.size());
  bool after_space = trim && !continuation;
  while (!text.empty()) {
    const Replacement next = Next(text);
    text.remove_prefix(next.consumed);
    std::string_view piece = next.text;
    while (after_space && piece.starts_with(' ')) piece.remove_prefix(1);
    if (piece.empty()) continue;
    for (const char c : piece) {
      if (c == ' ') {
        out.append(space.data(), space.size());
      } else {
        out.push_back(c);
      }
    }
    after_space = trim && piece.ends_with(' ');
  }
  while (trim && out.size() >= space.size() &&
         std::string_view(out).ends_with(space)) {
    out.erase(out.size() - space.size());
  }
  return out;
}

}  // namespace align
