#pragma once

// Internal to align/text: llama.cpp knows how byte-level BPE cuts texts by
// name, tokenizer.ggml.pre.

#include <string>

#include "align/base/status.h"
#include "align/text/json_node.h"

namespace align {

// The name for the pre-tokenizer, normalizer and model of the tokenizer.json
// that `root` is. kUnimplemented, naming it, for what llama.cpp has no name
// for.
absl::StatusOr<std::string> GgufPreTokenizer(const JsonNode& root);

}  // namespace align
