#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>

#include "align/base/status.h"

namespace align {

// The JSON object in `text`, owned by `parser` until its next use. Integers of
// more than 64 bits are read as doubles. Errors:
// kInvalidArgument "where: not valid JSON: ..." for malformed text, text that
// is not UTF-8, nesting beyond `max_depth` levels, or another type at the top.
absl::StatusOr<simdjson::dom::object> ParseJsonObject(
    simdjson::dom::parser& parser, std::string_view text,
    const std::string& where, size_t max_depth);

}  // namespace align
