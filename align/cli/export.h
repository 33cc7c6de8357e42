#pragma once

#include "align/base/status.h"
#include "align/cli/command.h"

namespace align::cli {

// A model directory as another tool or another dtype wants it.
inline constexpr char kExportUsage[] =
    "align export MODEL_DIR --out PATH [--format gguf | safetensors] "
    "[--dtype f32 | f16 | bf16 | q8_0]";
absl::Status ExportCommand(const Arguments& arguments);

}  // namespace align::cli
