#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "align/base/status.h"

namespace align {

// The file format of llama.cpp, GGUF version 3: metadata, a list of tensors,
// their data. Source: ggml's docs/gguf.md and, for Q8_0, ggml-quants.c.

// Types of tensors, by their number in the file.
enum class GgufType : uint32_t { kF32 = 0, kF16 = 1, kQ8_0 = 8, kBF16 = 30 };

// "f32", "f16", "bf16", "q8_0"; kInvalidArgument for another name.
absl::StatusOr<GgufType> ParseGgufType(std::string_view name);

// Elements that are stored together: 32 of Q8_0 with a scale, else 1.
int64_t GgufBlock(GgufType type);

using GgufValue = std::variant<bool, uint32_t, float, std::string,
                               std::vector<bool>, std::vector<int32_t>,
                               std::vector<float>, std::vector<std::string>>;
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

// A tensor of floats to be stored as `type`. `shape` is row-major, the last
// extent a multiple of GgufBlock(type); `read` fills all of the elements.
struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;
  GgufType type = GgufType::kF32;
  std::function<absl::Status(std::span<float>)> read;
};

// Writes a file that appears only when complete; holds one tensor at a time.
// Q8_0 stores 32 floats x as a scale d = max|x| / 127 in F16 and integers
// round(x / d): none is farther off than d / 2 and the rounding of d. Errors:
// kInvalidArgument for what the format has no room for (a name of more than 63
// bytes, a shape, a value beyond F16); those of `read`; kResourceExhausted from
// the disk.
absl::Status WriteGguf(const std::string& path, const GgufMetadata& metadata,
                       const std::vector<GgufTensor>& tensors);

}  // namespace align
