#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"
#include "align/models/safetensors.h"

namespace align {

// The tensors of a Hugging Face model directory under one map: of
// model.safetensors if there is one, else of the shards that
// model.safetensors.index.json names. Owns the mappings; const calls from any
// thread.
class CheckpointReader {
 public:
  // Errors: kNotFound if the directory has neither file or a shard is missing;
  // kInvalidArgument for a malformed file, a shard name with characters other
  // than A-Z a-z 0-9 . _ - (a path could leave the directory), a tensor
  // mapped twice or to a shard that does not hold it.
  static absl::StatusOr<CheckpointReader> Open(const std::string& directory);

  const std::string& directory() const { return directory_; }
  // Sorted.
  std::vector<std::string> Names() const;
  // nullptr if there is none; valid while the reader lives.
  const TensorInfo* Find(std::string_view name) const;

 private:
  absl::Status OpenShards(const std::string& index_path);

  std::string directory_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, const TensorInfo*, std::less<>> tensors_;
};

}  // namespace align
