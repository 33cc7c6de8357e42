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
  StoredDtype dtype = StoredDtype::kF32;  // or kF16, kBF16
  // transformers refuses files without "format".
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

// Writes a safetensors file that appears only when complete, tensors ordered
// by name, so equal contents give equal bytes. Besides the tensors it holds at
// most 128 KiB. Errors: kInvalidArgument for a shape that does not match its
// values, a name given twice, "__metadata__" or that is not UTF-8, or a finite
// value that the dtype would turn into infinity (PyTorch's .half() does so in
// silence, and the model is broken); kUnimplemented for other dtypes;
// kResourceExhausted from the disk.
absl::Status WriteSafetensors(const std::string& path,
                              std::vector<TensorToWrite> tensors,
                              const SafetensorsOptions& options = {});

// As transformers splits what it saves.
inline constexpr int64_t kMaxShardBytes = 5'000'000'000;

// Writes DIRECTORY/model.safetensors or, when the tensors take more than
// `max_shard_bytes`, shards model-00001-of-00002.safetensors of at most that
// size (a larger tensor has one to itself) and, last, the index
// model.safetensors.index.json; then removes the file by which an earlier
// checkpoint in the directory would be read instead. Errors as above.
absl::Status WriteCheckpoint(const std::string& directory,
                             std::vector<TensorToWrite> tensors,
                             const SafetensorsOptions& options = {},
                             int64_t max_shard_bytes = kMaxShardBytes);

}  // namespace align
