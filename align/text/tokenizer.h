#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/text/chat_template.h"
#include "align/text/marked_text.h"

namespace align {

// Text to token ids and back. Ids lie in [0, vocab_size()). Immutable after
// construction: any number of threads may call it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The ids of a text that stands at the start, without BOS or EOS. No text
  // yields a control id: "<s>" in a text is three characters. Bytes that are
  // not UTF-8 are each read as U+FFFD where the tokenizer works on characters.
  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
  // The same for a text that continues another one: nothing is put before it
  // (SentencePiece's dummy space) and its leading space is kept.
  virtual std::vector<int32_t> EncodeContinuation(
      std::string_view text) const = 0;
  // The same as Encode for a text in which the names of special tokens stand
  // for these tokens: for templates, never for what users write. Where a
  // tokenizer has no list of special tokens, it is Encode.
  virtual std::vector<int32_t> EncodeMarkup(std::string_view text) const;
  // The same for a rendered text: the name of a special token stands for that
  // token where the template wrote all of it, and is text where data did. Here
  // the special tokens are BOS and EOS, unless a tokenizer knows more.
  enum class Place { kStart, kInside };  // kInside: it continues another text
  virtual std::vector<int32_t> EncodeMarked(const MarkedText& text,
                                            Place place) const;
  // `ids` between those that the tokenizer's own template puts around a text
  // (BOS, EOS); unchanged where it has none.
  virtual std::vector<int32_t> AddTemplate(std::vector<int32_t> ids) const;

  // The bytes of a text that stands at the start (what Encode put before it is
  // taken away); they may end inside a character. Control ids give nothing;
  // ids outside the vocabulary are misuse.
  virtual std::string Decode(std::span<const int32_t> ids) const = 0;
  // The same with special tokens by name, where EncodeMarkup knows them.
  virtual std::string DecodeMarkup(std::span<const int32_t> ids) const;
  // The bytes that `ids` add to a text: DecodePiece of each, joined.
  std::string DecodeContinuation(std::span<const int32_t> ids) const;
  // The bytes that one id adds to a text that has already begun.
  virtual std::string DecodePiece(int32_t id) const = 0;
  // The id's name in the vocabulary, for display: "<s>", "\u2581the", "<0x0A>".
  virtual std::string PieceName(int32_t id) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;

  // The chat templates of the model's directory; it may have none.
  const ChatTemplateSource& chat() const { return chat_; }
  // Before the tokenizer is shared.
  void set_chat(ChatTemplateSource chat) { chat_ = std::move(chat); }

 private:
  ChatTemplateSource chat_;
};

// The tokenizer of a Hugging Face model directory: tokenizer.json if there is
// one, else tokenizer.model (SentencePiece), else the byte tokenizer if
// tokenizer_config.json says "tokenizer_class": "ByteTokenizer", with the
// directory's chat templates. kNotFound names what was looked for.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(
    const std::string& model_dir);

}  // namespace align
