#pragma once

// Internal to align/text: runs Jinja templates.

#include <cstdint>
#include <optional>

#include "align/base/status.h"
#include "align/text/jinja_parser.h"
#include "align/text/jinja_value.h"

namespace align {

// What a program prints. `globals` are its variables; they and all values
// belong to `heap`, whose limits hold. `time`, in seconds since 1970 (UTC), is
// what strftime_now tells; without it that function is undefined. Errors are
// "line N: ..."; kUnimplemented names what is outside the subset,
// kResourceExhausted the limit that was passed.
absl::StatusOr<MarkedText> RunJinja(const JinjaProgram& program,
                                    JinjaScope& globals, JinjaHeap& heap,
                                    std::optional<int64_t> time);

}  // namespace align
