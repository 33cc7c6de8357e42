// Any bytes as tokenizer.model: a status, or a tokenizer whose ids are its own.
#include <cstdint>
#include <string_view>

#include "align/base/check.h"
#include "align/text/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tokenizer = align::SentencePieceTokenizer::Parse(
      {reinterpret_cast<const char*>(data), size}, "tokenizer.model");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode(" the  <s>\xc3\xa9\xff ab");
  for (const int32_t id : ids) {
    ALIGN_CHECK(id >= 0 && id < (*tokenizer)->vocab_size()) << id;
  }
  (*tokenizer)->Decode(ids);
  return 0;
}
