#include "align/text/byte_tokenizer.h"

#include <cstdio>

#include "align/base/check.h"

namespace align {

std::vector<int32_t> ByteTokenizer::Encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

std::vector<int32_t> ByteTokenizer::EncodeContinuation(
    std::string_view text) const {
  return Encode(text);
}

std::string ByteTokenizer::Decode(std::span<const int32_t> ids) const {
  return DecodeContinuation(ids);
}

std::string ByteTokenizer::DecodePiece(int32_t id) const {
  ALIGN_CHECK(id >= 0 && id < kVocabSize) << "[ByteTokenizer] id " << id;
  return id < 256 ? std::string(1, static_cast<char>(id)) : std::string();
}

std::string ByteTokenizer::PieceName(int32_t id) const {
  ALIGN_CHECK(id >= 0 && id < kVocabSize) << "[ByteTokenizer] id " << id;
  if (id == kBos) return "<s>";
  if (id == kEos) return "</s>";
  char name[8];
  std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(id));
  return name;
}

}  // namespace align
