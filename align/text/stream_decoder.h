#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "align/text/tokenizer.h"

namespace align {

// Turns ids into text as they are sampled. What Push returns is always whole
// characters: bytes of an unfinished one wait for the next id, and bytes that
// can no longer become one are U+FFFD, one for each longest beginning of a
// character (Unicode 15, section 3.9, U+FFFD substitution of maximal subparts).
// Owned by one thread; the tokenizer must outlive it.
class StreamDecoder {
 public:
  enum class Start {
    kText,         // as Tokenizer::Decode
    kContinuation  // as Tokenizer::DecodeContinuation
  };

  StreamDecoder(const Tokenizer& tokenizer, Start start);

  // The text that `id` completes; empty while a character is unfinished.
  std::string Push(int32_t id);
  // What still waits, as text. The stream is then as new.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  Start start_;
  std::vector<int32_t> opening_;  // ids of a text that has no bytes yet
  bool opened_ = false;
  std::string waiting_;  // an unfinished character
};

}  // namespace align
