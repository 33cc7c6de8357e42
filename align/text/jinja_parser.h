#pragma once

// Internal to align/text: Jinja templates.

#include <string_view>

#include "align/base/status.h"
#include "align/text/jinja_ast.h"

namespace align {

struct JinjaProgram {
  JinjaBlock body;
  bool has_generation = false;  // some {% generation %} block
};

// Parses a template. Errors are "line N: ..."; kUnimplemented names a construct
// outside the subset, kResourceExhausted one that is nested too deeply.
absl::StatusOr<JinjaProgram> ParseJinja(std::string_view source);

}  // namespace align
