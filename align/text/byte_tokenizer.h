#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "align/text/tokenizer.h"

namespace align {

// One id a byte (0-255), then BOS (256) and EOS (257).
class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kBos = 256;
  static constexpr int32_t kEos = 257;
  static constexpr int32_t kVocabSize = 258;

  std::vector<int32_t> Encode(std::string_view text) const override;
  std::vector<int32_t> EncodeContinuation(std::string_view text) const override;
  std::string Decode(std::span<const int32_t> ids) const override;
  std::string DecodePiece(int32_t id) const override;
  std::string PieceName(int32_t id) const override;
  int32_t vocab_size() const override { return kVocabSize; }
  std::optional<int32_t> bos_id() const override { return kBos; }
  std::optional<int32_t> eos_id() const override { return kEos; }
};

}  // namespace align
