#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/models/safetensors.h"

namespace align {

// A tensor to be written: row-major values, which the caller keeps alive.
struct TensorToWrite {
  std::string name;
  std::vector<int64_t> shape;
  std::span<const float> values;
};

struct SafetensorsOptions {
  StoredDtype dtype = StoredDtype::kF32;  // or kBF16
  // transformers refuses files without "format".
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

// Nearest BF16, ties to even; NaN stays NaN, what rounds beyond the largest
// finite value becomes infinite (as PyTorch does).
uint16_t FloatToBfloat(float value);

// Writes a safetensors file that appears only when complete, tensors ordered
// by name, so equal contents give equal bytes. Besides the tensors it holds at
// most 128 KiB. Errors: kInvalidArgument for a shape that does not match its
// values or a name given twice, "__metadata__" or that is not UTF-8;
// kUnimplemented for other dtypes; kResourceExhausted from the disk.
absl::Status WriteSafetensors(const std::string& path,
                              std::vector<TensorToWrite> tensors,
                              const SafetensorsOptions& options = {});

}  // namespace align
