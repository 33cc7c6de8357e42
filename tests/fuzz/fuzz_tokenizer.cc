// Any bytes as tokenizer.json: a status, or a tokenizer whose ids are its own.
// What follows a NUL byte is the text to encode.
#include <cstdint>
#include <string_view>
#include <vector>

#include "align/base/check.h"
#include "align/text/huggingface_tokenizer.h"
#include "align/text/stream_decoder.h"
#include "align/text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t end = all.find('\0');
  const auto tokenizer =
      align::HuggingFaceTokenizer::Parse(all.substr(0, end), "tokenizer.json");
  if (!tokenizer.ok()) return 0;
  const std::string_view text = end == std::string_view::npos
                                    ? "the 12 <s>\xc3\xa9\xff"
                                    : all.substr(end + 1);
  const std::vector<int32_t> ids = (*tokenizer)->EncodeMarkup(text);
  align::StreamDecoder stream(**tokenizer, align::StreamDecoder::Start::kText);
  std::string streamed;
  for (const int32_t id : ids) {
    ALIGN_CHECK(id >= 0 && id < (*tokenizer)->vocab_size()) << id;
    streamed += stream.Push(id);
  }
  streamed += stream.Finish();
  ALIGN_CHECK(align::IsUtf8(streamed)) << "not UTF-8";
  (*tokenizer)->DecodeMarkup(ids);
  return 0;
}
