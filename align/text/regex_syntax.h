#pragma once

// Internal to align/text: patterns of tokenizer.json are written for Oniguruma
// (Ruby's syntax); PCRE2 reads some of it otherwise.

#include <string>
#include <string_view>

#include "align/base/status.h"

namespace align {

// The same pattern for PCRE2 with UTF, UCP and MULTILINE. kUnimplemented names
// the construct and its offset in the pattern where the two would differ and we
// have no translation. What remains malformed is for PCRE2 to find.
absl::StatusOr<std::string> OnigurumaToPcre2(std::string_view pattern);

}  // namespace align
