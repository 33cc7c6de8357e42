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

// A tokenizer.json of Hugging Face: BPE or Unigram behind normalizer,
// pre-tokenizer and added tokens. Ids equal those of the tokenizers library
// (0.22) but for this: no text gives the id of a special token, even where its
// vocabulary would allow it. The file's truncation and padding are not used.
// What a file asks for and is not supported is refused by name.
class HuggingFaceTokenizer : public Tokenizer {
 public:
  // The names of two special tokens; empty: there is none.
  struct SpecialNames {
    std::string bos;
    std::string eos;
  };

  // Reads tokenizer.json of a model directory, with the names of BOS and EOS
  // from tokenizer_config.json or special_tokens_map.json. kInvalidArgument:
  // malformed, or at odds with itself; kUnimplemented: not supported.
  static absl::StatusOr<std::unique_ptr<HuggingFaceTokenizer>> Load(
      const std::string& model_dir);
  // The same from the text of a tokenizer.json; `name` stands for its path in
  // errors. Without a BOS name, BOS is the one id that the file's own template
  // puts before a text, if it is one.
  static absl::StatusOr<std::unique_ptr<HuggingFaceTokenizer>> Parse(
      std::string_view json, const std::string& name,
      const SpecialNames& special_names = {});

  ~HuggingFaceTokenizer() override;

  std::vector<int32_t> Encode(std::string_view text) const override;
  std::vector<int32_t> EncodeContinuation(std::string_view text) const override;
  std::vector<int32_t> EncodeMarkup(std::string_view text) const override;
  std::vector<int32_t> EncodeMarked(const MarkedText& text,
                                    Place place) const override;
  std::vector<int32_t> AddTemplate(std::vector<int32_t> ids) const override;
  std::string Decode(std::span<const int32_t> ids) const override;
  std::string DecodeMarkup(std::span<const int32_t> ids) const override;
  std::string DecodePiece(int32_t id) const override;
  std::string PieceName(int32_t id) const override;
  int32_t vocab_size() const override;
  std::optional<int32_t> bos_id() const override;
  std::optional<int32_t> eos_id() const override;

 private:
  struct Parts;
  explicit HuggingFaceTokenizer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace align
