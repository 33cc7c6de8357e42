#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"
#include "align/text/tokenizer.h"

namespace align {

// SentencePiece, as `spm_encode` does it: normalise, then either byte-pair
// encoding (cut into characters, merge the adjacent pair whose piece has the
// highest score, leftmost first among equals, O(n log n)) or the unigram model
// (the path of the highest summed score, O(n)). Characters without a piece
// become their UTF-8 bytes (byte fallback) or the unknown id, a run of them one
// id. Source: Kudo and Richardson 2018, and sentencepiece 0.1.97's bpe_model.cc
// and unigram_model.cc.
class SentencePieceTokenizer : public Tokenizer {
 public:
  // Reads a `tokenizer.model`. kInvalidArgument: not such a file, truncated, or
  // at odds with itself; kUnimplemented: a model that is neither BPE nor
  // unigram, or puts its spaces after words.
  static absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> Load(
      const std::string& path);
  // The same from the file's bytes; `name` stands for the path in errors.
  static absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> Parse(
      std::string_view bytes, const std::string& name);

  ~SentencePieceTokenizer() override;

  std::vector<int32_t> Encode(std::string_view text) const override;
  std::vector<int32_t> EncodeContinuation(std::string_view text) const override;
  std::string Decode(std::span<const int32_t> ids) const override;
  std::string DecodePiece(int32_t id) const override;
  std::string PieceName(int32_t id) const override;
  int32_t vocab_size() const override;
  std::optional<int32_t> bos_id() const override;
  std::optional<int32_t> eos_id() const override;

 private:
  struct Model;
  explicit SentencePieceTokenizer(std::unique_ptr<Model> model);
  std::unique_ptr<Model> model_;
};

}  // namespace align
