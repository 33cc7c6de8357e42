#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/base/status.h"

namespace align {

// Element types that a safetensors file may hold. F32, F16 and BF16 convert to
// float; the others can be listed but not read.
enum class StoredDtype {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64,
};

// The name in the file format: "BF16".
std::string_view DtypeName(StoredDtype dtype);
// Bytes per element.
int64_t DtypeBytes(StoredDtype dtype);
// Whether CopyToFloat reads it.
bool ConvertsToFloat(StoredDtype dtype);

// One tensor of an open file. `bytes` points into the file's mapping, little
// endian, row-major, possibly unaligned; it ends with the SafetensorsFile.
struct TensorInfo {
  std::string name;
  StoredDtype dtype = StoredDtype::kF32;
  std::vector<int64_t> shape;  // empty: one element
  std::span<const std::byte> bytes;

  int64_t ElementCount() const {
    return static_cast<int64_t>(bytes.size()) / DtypeBytes(dtype);
  }
};

// "[2, 3]".
std::string ShapeText(std::span<const int64_t> shape);

// Writes the tensor's elements to `out`, exactly (every F16 and BF16 value is
// a float). Errors: kInvalidArgument if out.size() is not the element count,
// kUnimplemented for the other dtypes.
absl::Status CopyToFloat(const TensorInfo& info, std::span<float> out);

// A read-only safetensors file by mmap, checked whole when opened. Format:
// huggingface/safetensors README; the rules beyond it (header at most
// 100,000,000 bytes and starting with '{', no duplicate names, no holes or
// overlaps) are its reference implementation's. Ours: names of printable UTF-8
// of at most 1,024 bytes, at most 8 dimensions, no unknown fields. Movable;
// TensorInfo pointers survive a move. Const calls from any thread.
class SafetensorsFile {
 public:
  // kNotFound, or kInvalidArgument that says where, what and what was
  // expected. Nothing is allocated from a size that the file only claims.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  // In the order of their data.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // nullptr if there is none.
  const TensorInfo* Find(std::string_view name) const;
  // The header's __metadata__.
  const std::map<std::string, std::string>& metadata() const {
    return metadata_;
  }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  absl::Status ParseHeader();

  MappedFile file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace align
