#pragma once

// Internal to align/text: Python's operators on Jinja values.

#include <string_view>

#include "align/base/status.h"
#include "align/text/jinja_value.h"

namespace align {

// a OP b for + - * / // % ** ~. kInvalidArgument: the types do not go with it,
// or a division by zero; kOutOfRange: an int beyond 64 bits.
absl::StatusOr<JinjaValue> JinjaBinary(std::string_view op, const JinjaValue& a,
                                       const JinjaValue& b, JinjaHeap& heap);
// -a or +a.
absl::StatusOr<JinjaValue> JinjaSigned(std::string_view op,
                                       const JinjaValue& a);

}  // namespace align
