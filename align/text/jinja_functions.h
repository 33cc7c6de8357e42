#pragma once

// Internal to align/text: the global functions of Jinja templates.

#include <cstdint>
#include <optional>
#include <string_view>

#include "align/base/status.h"
#include "align/text/jinja_call.h"

namespace align {

// Whether there is such a function: strftime_now needs a time.
bool IsJinjaFunction(std::string_view name, std::optional<int64_t> time);

// namespace, dict, range, raise_exception and strftime_now. kUnimplemented: no
// such function in the subset; kInvalidArgument: what raise_exception says.
absl::StatusOr<JinjaValue> CallJinjaFunction(const JinjaCall& call,
                                             std::optional<int64_t> time);

}  // namespace align
