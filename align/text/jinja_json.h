#pragma once

// Internal to align/text: JSON in and out of Jinja templates.

#include <simdjson.h>

#include "align/base/status.h"
#include "align/text/jinja_value.h"

namespace align {

// The values of a document, strings marked as data. Of equal keys the last
// counts. kInvalidArgument: a number that is out of range.
absl::StatusOr<JinjaValue> JinjaFromJson(const simdjson::dom::element& element,
                                         JinjaHeap& heap);

// json.dumps, as transformers' filter `tojson` calls it.
struct JinjaJsonStyle {
  bool ascii = false;       // escape what is not ASCII
  bool sort_keys = false;   // else in order of insertion
  bool has_indent = false;  // else one line
  std::string indent;       // of one level
  std::string item_separator = ", ", key_separator = ": ";
};
// kInvalidArgument: a value that JSON lacks.
absl::StatusOr<std::string> JinjaToJson(const JinjaValue& value,
                                        const JinjaJsonStyle& style,
                                        JinjaHeap& heap);

}  // namespace align
