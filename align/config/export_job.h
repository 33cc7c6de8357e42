#pragma once

#include <string>

#include "align/base/status.h"
#include "align/models/gguf_writer.h"

namespace align {

// Writes the language model in `directory` with its tokenizer and chat template
// as one GGUF file for llama.cpp. Matrices are stored as `type`. What llama.cpp
// would do otherwise with some texts is logged. Errors: those of
// WriteModelAsGguf and ReadGgufVocabulary; kInvalidArgument if the tokenizer
// has more ids than the model has rows.
absl::Status ExportGguf(const std::string& directory, const std::string& path,
                        GgufType type);

}  // namespace align
