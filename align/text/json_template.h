#pragma once

// Internal to align/text: the post-processor of a tokenizer.json.

#include <cstdint>
#include <vector>

#include "align/base/status.h"
#include "align/text/json_node.h"

namespace align {

// The ids that a tokenizer's own template puts around a text.
struct JsonTemplate {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;

  // Takes TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing and
  // Sequence. kUnimplemented names what is not supported.
  static absl::StatusOr<JsonTemplate> Parse(const JsonNode& node);

  // Puts what `node` adds around what stands already.
  absl::Status Add(const JsonNode& node);
};

}  // namespace align
