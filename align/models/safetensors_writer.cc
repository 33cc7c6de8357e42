#include "align/models/safetensors_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "align/base/files.h"
#include "align/base/json_writer.h"
#include "align/models/float16.h"

namespace align {
namespace {

constexpr size_t kChunk = 1 << 16;  // elements converted at a time

absl::Status CheckTensor(const TensorToWrite& tensor,
                         const std::string& where) {
  int64_t count = 1;
  bool good = tensor.name != "__metadata__";
  for (const int64_t extent : tensor.shape) {
    good =
        good && extent >= 0 && !__builtin_mul_overflow(count, extent, &count);
  }
  if (good && count == static_cast<int64_t>(tensor.values.size())) {
    return absl::OkStatus();
  }
  return InvalidArgument(where + ": " + tensor.name + ": shape " +
                         ShapeText(tensor.shape) + " with " +
                         std::to_string(tensor.values.size()) + " values");
}

// The length and the JSON text, padded with spaces so that data begin at a
// multiple of 8.
absl::StatusOr<std::string> Header(const std::vector<TensorToWrite>& tensors,
                                   const SafetensorsOptions& options) {
  JsonWriter json({.indent = 0});
  json.BeginObject();
  if (!options.metadata.empty()) {
    json.Key("__metadata__");
    json.BeginObject();
    for (const auto& [key, value] : options.metadata) json.Field(key, value);
    json.EndObject();
  }
  int64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const int64_t begin = offset;
    offset +=
        static_cast<int64_t>(tensor.values.size()) * DtypeBytes(options.dtype);
    json.Key(tensor.name);
    json.BeginObject();
    json.Field("dtype", DtypeName(options.dtype));
    json.Field("shape", tensor.shape);
    json.Field("data_offsets", std::vector<int64_t>{begin, offset});
    json.EndObject();
  }
  json.EndObject();
  ALIGN_ASSIGN_OR_RETURN(std::string text, std::move(json).Finish());
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + text;
}

// Neither half has room for every float: what would become infinite is not
// written.
absl::Status CheckRange(const TensorToWrite& tensor, StoredDtype dtype,
                        const std::string& where) {
  if (dtype == StoredDtype::kF32) return absl::OkStatus();
  for (const float value : tensor.values) {
    const float kept = dtype == StoredDtype::kF16
                           ? HalfToFloat(FloatToHalf(value))
                           : BfloatToFloat(FloatToBfloat(value));
    if (std::isfinite(value) && std::isinf(kept)) {
      return InvalidArgument(where + ": " + tensor.name + " holds " +
                             std::to_string(value) + ", for which " +
                             std::string(DtypeName(dtype)) +
                             " has no room; a wider dtype expected");
    }
  }
  return absl::OkStatus();
}

absl::Status WriteValues(AtomicFile& file, std::span<const float> values,
                         StoredDtype dtype) {
  if (dtype == StoredDtype::kF32) {
    return file.Write(
        {reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  }
  std::vector<uint16_t> chunk(std::min(kChunk, values.size()));
  while (!values.empty()) {
    const size_t count = std::min(chunk.size(), values.size());
    std::transform(values.begin(), values.begin() + count, chunk.begin(),
                   dtype == StoredDtype::kF16 ? FloatToHalf : FloatToBfloat);
    ALIGN_RETURN_IF_ERROR(
        file.Write({reinterpret_cast<const char*>(chunk.data()), 2 * count}));
    values = values.subspan(count);
  }
  return absl::OkStatus();
}

constexpr char kSingleName[] = "/model.safetensors";
constexpr char kIndexName[] = "/model.safetensors.index.json";

absl::Status Remove(const std::string& path) {
  std::error_code error;
  std::filesystem::remove(path, error);
  if (!error) return absl::OkStatus();
  return Internal(path + ": cannot be removed: " + error.message());
}

// Tensors in order, cut where a shard would grow beyond `max_bytes`.
std::vector<std::vector<TensorToWrite>> CutIntoShards(
    std::vector<TensorToWrite> tensors, int64_t element_bytes,
    int64_t max_bytes) {
  std::vector<std::vector<TensorToWrite>> shards(1);
  int64_t held = 0;
  for (TensorToWrite& tensor : tensors) {
    const int64_t bytes =
        static_cast<int64_t>(tensor.values.size()) * element_bytes;
    if (!shards.back().empty() && held + bytes > max_bytes) {
      shards.emplace_back();
      held = 0;
    }
    held += bytes;
    shards.back().push_back(std::move(tensor));
  }
  return shards;
}

// "model-00002-of-00010.safetensors".
std::string ShardName(size_t index, size_t count) {
  const auto digits = [](size_t number) {
    const std::string text = std::to_string(number);
    return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
  };
  return "model-" + digits(index + 1) + "-of-" + digits(count) + ".safetensors";
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path,
                              std::vector<TensorToWrite> tensors,
                              const SafetensorsOptions& options) {
  if (!ConvertsToFloat(options.dtype)) {
    return Unimplemented(path + ": cannot write " +
                         std::string(DtypeName(options.dtype)) +
                         "; F32, F16 or BF16 expected");
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  for (size_t i = 0; i < tensors.size(); ++i) {
    ALIGN_RETURN_IF_ERROR(CheckTensor(tensors[i], path));
    ALIGN_RETURN_IF_ERROR(CheckRange(tensors[i], options.dtype, path));
    if (i > 0 && tensors[i].name == tensors[i - 1].name) {
      return InvalidArgument(path + ": " + tensors[i].name + " is given twice");
    }
  }
  auto header = Header(tensors, options);
  if (!header.ok()) return Annotate(header.status(), path);
  ALIGN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  ALIGN_RETURN_IF_ERROR(file.Write(*header));
  for (const TensorToWrite& tensor : tensors) {
    ALIGN_RETURN_IF_ERROR(WriteValues(file, tensor.values, options.dtype));
  }
  return file.Commit();
}

absl::Status WriteCheckpoint(const std::string& directory,
                             std::vector<TensorToWrite> tensors,
                             const SafetensorsOptions& options,
                             int64_t max_shard_bytes) {
  int64_t total = 0;
  for (const TensorToWrite& tensor : tensors) {
    total +=
        static_cast<int64_t>(tensor.values.size()) * DtypeBytes(options.dtype);
  }
  if (total <= max_shard_bytes) {
    ALIGN_RETURN_IF_ERROR(
        WriteSafetensors(directory + kSingleName, std::move(tensors), options));
    return Remove(directory + kIndexName);
  }
  std::vector<std::vector<TensorToWrite>> shards = CutIntoShards(
      std::move(tensors), DtypeBytes(options.dtype), max_shard_bytes);
  JsonWriter json;
  json.BeginObject();
  json.Key("metadata");
  json.BeginObject();
  json.Field("total_size", total);
  json.EndObject();
  json.Key("weight_map");
  json.BeginObject();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = ShardName(i, shards.size());
    for (const TensorToWrite& tensor : shards[i]) {
      json.Field(tensor.name, name);
    }
    ALIGN_RETURN_IF_ERROR(WriteSafetensors(directory + "/" + name,
                                           std::move(shards[i]), options));
  }
  json.EndObject();
  json.EndObject();
  ALIGN_ASSIGN_OR_RETURN(const std::string index, std::move(json).Finish());
  ALIGN_RETURN_IF_ERROR(
      WriteFileAtomically(directory + kIndexName, index + "\n"));
  return Remove(directory + kSingleName);
}

}  // namespace align
