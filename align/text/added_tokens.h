#pragma once

// Internal to align/text: the added tokens of a tokenizer.json, which are found
// in a text before anything else looks at it.

#include <absl/functional/function_ref.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/text/byte_trie.h"
#include "align/text/json_node.h"
#include "align/text/json_normalizer.h"

namespace align {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
  bool normalized = false;              // looked for after normalisation
  bool single_word = false;             // not beside a word's characters
  bool lstrip = false, rstrip = false;  // takes the white space beside it
};

// Finds added tokens, the longest at the leftmost place. Immutable.
class AddedTokens {
 public:
  AddedTokens() = default;
  // Reads `added_tokens`; the normalizer is applied to those that are looked
  // for in normalised text.
  static absl::StatusOr<AddedTokens> Parse(const JsonNode& list,
                                           const JsonNormalizer& normalizer);

  const std::vector<AddedToken>& tokens() const { return tokens_; }

  // In which text it looks, and which tokens it knows there.
  // kContent: special tokens of normalised text as they are written.
  enum class Pass { kRaw, kNormalized, kContent };
  bool HasAny(Pass pass) const { return !trie(pass).empty(); }

  // Calls `emit` with each stretch of `text` in order, none empty, and the
  // token it is, or nullptr. Special tokens are text like any other unless
  // `allow` takes the bytes where one stands.
  using Emit = absl::FunctionRef<void(std::string_view, const AddedToken*)>;
  using Allow = absl::FunctionRef<bool(size_t begin, size_t end)>;
  void Split(std::string_view text, Pass pass, Allow allow, Emit emit) const;

 private:
  const ByteTrie& trie(Pass pass) const {
    return pass == Pass::kRaw          ? raw_
           : pass == Pass::kNormalized ? normalized_
                                       : content_;
  }

  std::vector<AddedToken> tokens_;
  ByteTrie raw_, normalized_, content_;  // to positions in tokens_
};

}  // namespace align
