#pragma once

#include <string>

#include "align/base/status.h"
#include "align/models/gguf_writer.h"

namespace align {

struct GgufOptions {
  // Of matrices. Vectors and learned positions stay F32, and a matrix whose
  // rows do not cut into Q8_0's blocks is F16 then, as llama.cpp's own
  // converter has it.
  GgufType type = GgufType::kF16;
  // More metadata: the tokenizer's.
  GgufMetadata metadata;
};

// Writes the language model in `directory` as a GGUF file in the layout of
// llama.cpp: its names, axes and order of rotated elements. Llama, Mistral,
// Qwen 2 and 3, Gemma 1 and 2 and GPT-2. Where a window or dynamic scaling
// would change the numbers of longer texts and llama.cpp has neither, the
// file's context length ends before that, and a log line says so. Errors: those
// of reading; kUnimplemented names what llama.cpp would compute otherwise (the
// family, an activation, a bias, a kind of RoPE scaling, ...).
absl::Status WriteModelAsGguf(const std::string& directory,
                              const std::string& path,
                              const GgufOptions& options);

}  // namespace align
