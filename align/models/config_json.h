#pragma once

#include <string>

#include "align/base/status.h"
#include "align/models/model_config.h"

namespace align {

// The text of a config.json such that transformers loads it, for weights of
// `dtype`: kF32, kF16 or kBF16. Errors: those of ValidateConfig;
// kUnimplemented for another dtype.
absl::StatusOr<std::string> ModelConfigJson(
    const ModelConfig& config, StoredDtype dtype = StoredDtype::kF32);

}  // namespace align
