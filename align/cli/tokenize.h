#pragma once

#include "align/base/status.h"
#include "align/cli/command.h"

namespace align::cli {

inline constexpr char kTokenizeUsage[] =
    "align tokenize TOKENIZER (TEXT | --file FILE | --decode IDS) [flags]";

// Prints the tokens of a text, one a line: id, name, bytes; or the text of ids.
// TOKENIZER is a model directory, a tokenizer.json or a tokenizer.model.
absl::Status TokenizeCommand(const Arguments& arguments);

}  // namespace align::cli
