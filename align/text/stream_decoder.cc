#include "align/text/stream_decoder.h"

#include <utility>

#include "align/text/utf8.h"

namespace align {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, Start start)
    : tokenizer_(tokenizer),
      start_(start),
      opened_(start == Start::kContinuation) {}

std::string StreamDecoder::Push(int32_t id) {
  if (opened_) {
    waiting_ += tokenizer_.DecodePiece(id);
  } else {
    // What is stripped at the start can depend on the first ids together.
    opening_.push_back(id);
    waiting_ = tokenizer_.Decode(opening_);
    opened_ = !waiting_.empty();
    if (opened_) opening_.clear();
  }
  const size_t unfinished = UnfinishedSuffix(waiting_);
  std::string text = ReplaceMalformedSubparts(
      std::string_view(waiting_).substr(0, waiting_.size() - unfinished));
  waiting_.erase(0, waiting_.size() - unfinished);
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text = ReplaceMalformedSubparts(waiting_);
  waiting_.clear();
  opening_.clear();
  opened_ = start_ == Start::kContinuation;
  return text;
}

}  // namespace align
