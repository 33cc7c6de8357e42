#pragma once

#include "align/base/status.h"
#include "align/cli/command.h"

namespace align::cli {

inline constexpr char kTokenizeUsage[] =
    "align tokenize TOKENIZER (TEXT | --file FILE | --decode IDS | "
    "--conversations FILE) [flags]";

// Prints the tokens of a text, one a line: id, name, bytes; or the text of ids.
// Conversations are rendered by the model's chat template, and a "*" stands
// before what training learns.
// TOKENIZER is a model directory, a tokenizer.json or a tokenizer.model.
absl::Status TokenizeCommand(const Arguments& arguments);

}  // namespace align::cli
