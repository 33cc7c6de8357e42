#include "align/models/checkpoint_reader.h"

#include <simdjson.h>

#include <algorithm>
#include <utility>

#include "align/base/files.h"
#include "align/base/json_document.h"

namespace align {
namespace {

constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr size_t kMaxShards = 10'000;
constexpr size_t kMaxJsonDepth = 16;

// Names a file of the directory itself, never "..", a path or a hidden file.
bool IsShardName(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  return name.size() > kSuffix.size() && name.size() <= 255 &&
         name.ends_with(kSuffix) && !name.starts_with('.') &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
         });
}

// Tensor name -> shard name.
absl::StatusOr<std::map<std::string, std::string>> ParseIndex(
    const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(const std::string text,
                         ReadFile(path, kMaxIndexBytes));
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const simdjson::dom::object root,
                         ParseJsonObject(parser, text, path, kMaxJsonDepth));
  simdjson::dom::object weight_map;
  if (root["weight_map"].get(weight_map) != simdjson::SUCCESS) {
    return InvalidArgument(path + ": an object weight_map expected");
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, value] : weight_map) {
    std::string_view shard;
    if (value.get(shard) != simdjson::SUCCESS || !IsShardName(shard)) {
      return InvalidArgument(
          path + ": weight_map: the shard of entry " +
          std::to_string(shards.size()) +
          " is not a file name like model-00001-of-00002.safetensors (only "
          "letters, digits, '.', '_' and '-')");
    }
    if (!shards.emplace(name, shard).second) {
      return InvalidArgument(path + ": weight_map: entry " +
                             std::to_string(shards.size()) +
                             " repeats an earlier name");
    }
  }
  return shards;
}

}  // namespace

absl::StatusOr<CheckpointReader> CheckpointReader::Open(
    const std::string& directory) {
  CheckpointReader reader;
  reader.directory_ = directory;
  const std::string single = directory + "/model.safetensors";
  const std::string index = directory + "/model.safetensors.index.json";
  if (FileExists(single)) {
    ALIGN_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(single));
    reader.files_.push_back(std::move(file));
    for (const TensorInfo& info : reader.files_[0].tensors()) {
      reader.tensors_.emplace(info.name, &info);
    }
  } else if (FileExists(index)) {
    ALIGN_RETURN_IF_ERROR(reader.OpenShards(index));
  } else {
    return NotFound(directory +
                    ": model.safetensors or model.safetensors.index.json "
                    "expected");
  }
  return reader;
}

absl::Status CheckpointReader::OpenShards(const std::string& index_path) {
  ALIGN_ASSIGN_OR_RETURN(const auto shard_of, ParseIndex(index_path));
  std::map<std::string, size_t> opened;  // shard -> position in files_
  for (const auto& [name, shard] : shard_of) {
    if (!opened.emplace(shard, files_.size()).second) continue;
    if (opened.size() > kMaxShards) {
      return InvalidArgument(index_path + ": more than " +
                             std::to_string(kMaxShards) + " shards");
    }
    ALIGN_ASSIGN_OR_RETURN(SafetensorsFile file,
                           SafetensorsFile::Open(directory_ + "/" + shard));
    files_.push_back(std::move(file));
  }
  for (const auto& [name, shard] : shard_of) {
    const TensorInfo* info = files_[opened[shard]].Find(name);
    if (info == nullptr) {
      return InvalidArgument(index_path + ": " + shard +
                             " expected to hold a tensor that it does not: " +
                             name.substr(0, 256));
    }
    tensors_.emplace(name, info);
  }
  return absl::OkStatus();
}

std::vector<std::string> CheckpointReader::Names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, info] : tensors_) names.push_back(name);
  return names;
}

const TensorInfo* CheckpointReader::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

}  // namespace align
