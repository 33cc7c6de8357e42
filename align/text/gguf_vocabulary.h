#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "align/base/status.h"

namespace align {

// A tokenizer as llama.cpp's files hold it: the values of tokenizer.ggml.* and
// tokenizer.chat_template. Source: ggml's docs/gguf.md.
struct GgufVocabulary {
  // As in SentencePiece.
  enum TokenType : int32_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  std::string model;                // "llama" (SentencePiece) or "gpt2"
  std::string pre;                  // gpt2: how it cuts texts
  std::vector<std::string> tokens;  // [V]
  std::vector<float> scores;        // [V], llama
  std::vector<int32_t> types;       // [V]
  std::vector<std::string> merges;  // gpt2: "a b", by rank
  std::optional<int32_t> bos, eos, unknown, padding;
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = false;
  std::string chat_template;  // empty: none
  // Texts that llama.cpp encodes otherwise, one sentence each.
  std::vector<std::string> differences;

  // Unused tokens up to `size`, for models whose tables have more rows.
  void PadTo(int64_t size);
};

// The tokenizer of a model directory: tokenizer.model (with the added tokens of
// a tokenizer.json beside it) or a tokenizer.json of byte-level BPE whose
// pre-tokenizer is one that llama.cpp has by name. kUnimplemented names what it
// does not have: unigram models, a normaliser's table, other pre-tokenizers;
// else the errors of LoadTokenizer.
absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const std::string& model_dir);

}  // namespace align
