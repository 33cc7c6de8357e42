#include "align/models/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "align/base/files.h"
#include "align/models/float16.h"
#include "align/models/safetensors.h"

namespace align {
namespace {

constexpr char kMagic[] = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr uint64_t kAlignment = 32;  // the format's default
constexpr size_t kMaxNameBytes = 63;
constexpr size_t kMaxDimensions = 4;
constexpr int64_t kQ8Block = 32;
constexpr int64_t kQ8BlockBytes = 2 + kQ8Block;
constexpr size_t kChunk = 1 << 16;  // elements converted at a time

// Numbers of the types of metadata.
enum class ValueType : uint32_t {
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
};

template <typename T>
constexpr ValueType TypeOf() {
  if constexpr (std::is_same_v<T, bool>) return ValueType::kBool;
  if constexpr (std::is_same_v<T, uint32_t>) return ValueType::kUint32;
  if constexpr (std::is_same_v<T, int32_t>) return ValueType::kInt32;
  if constexpr (std::is_same_v<T, float>) return ValueType::kFloat32;
  return ValueType::kString;
}

template <typename T>
void Put(std::string& out, const T& number) {
  static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void Put(std::string& out, const std::string& text) {
  Put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

void PutValue(std::string& out, const GgufValue& value) {
  std::visit(
      [&out](const auto& held) {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_arithmetic_v<T> ||
                      std::is_same_v<T, std::string>) {
          Put(out, TypeOf<T>());
          Put(out, held);
        } else {
          Put(out, ValueType::kArray);
          Put(out, TypeOf<typename T::value_type>());
          Put(out, static_cast<uint64_t>(held.size()));
          for (const typename T::value_type& item : held) Put(out, item);
        }
      },
      value);
}

uint64_t Padded(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t Elements(const GgufTensor& tensor) {
  int64_t count = 1;
  for (const int64_t extent : tensor.shape) count *= extent;
  return count;
}

uint64_t Bytes(const GgufTensor& tensor) {
  const auto count = static_cast<uint64_t>(Elements(tensor));
  switch (tensor.type) {
    case GgufType::kF32:
      return 4 * count;
    case GgufType::kF16:
    case GgufType::kBF16:
      return 2 * count;
    case GgufType::kQ8_0:
      break;
  }
  return count / kQ8Block * kQ8BlockBytes;
}

absl::Status CheckTensor(const GgufTensor& tensor) {
  int64_t count = 1;
  bool good = !tensor.shape.empty() && tensor.shape.size() <= kMaxDimensions;
  for (const int64_t extent : tensor.shape) {
    good = good && extent > 0 && !__builtin_mul_overflow(count, extent, &count);
  }
  if (!good || count > INT64_MAX / 8 ||
      tensor.shape.back() % GgufBlock(tensor.type) != 0) {
    return InvalidArgument(tensor.name + ": shape " + ShapeText(tensor.shape) +
                           "; 1 to 4 extents expected, the last a multiple "
                           "of " +
                           std::to_string(GgufBlock(tensor.type)));
  }
  if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes) {
    return InvalidArgument(tensor.name + ": a name of " +
                           std::to_string(tensor.name.size()) +
                           " bytes; 1 to 63 expected");
  }
  return absl::OkStatus();
}

std::string Header(const GgufMetadata& metadata,
                   const std::vector<GgufTensor>& tensors) {
  std::string out = kMagic;
  Put(out, kVersion);
  Put(out, static_cast<uint64_t>(tensors.size()));
  Put(out, static_cast<uint64_t>(metadata.size()));
  for (const auto& [key, value] : metadata) {
    Put(out, key);
    PutValue(out, value);
  }
  uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    Put(out, tensor.name);
    Put(out, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) {  // the fastest axis first
      Put(out, static_cast<uint64_t>(tensor.shape[i]));
    }
    Put(out, tensor.type);
    Put(out, offset);
    offset += Padded(Bytes(tensor));
  }
  out.resize(Padded(out.size()), '\0');
  return out;
}

absl::Status NoRoom(float value, const char* dtype) {
  return InvalidArgument("holds " + std::to_string(value) + ", for which " +
                         dtype + " has no room; a wider dtype expected");
}

absl::Status PutHalves(std::span<const float> values, GgufType type,
                       std::string& out) {
  const bool half = type == GgufType::kF16;
  for (const float value : values) {
    const uint16_t stored = half ? FloatToHalf(value) : FloatToBfloat(value);
    if (std::isfinite(value) &&
        std::isinf(half ? HalfToFloat(stored) : BfloatToFloat(stored))) {
      return NoRoom(value, half ? "F16" : "BF16");
    }
    Put(out, stored);
  }
  return absl::OkStatus();
}

absl::Status PutQ8(std::span<const float> values, std::string& out) {
  for (size_t at = 0; at < values.size(); at += kQ8Block) {
    const std::span<const float> block = values.subspan(at, kQ8Block);
    float most = 0;
    for (const float value : block) {
      if (!std::isfinite(value)) {
        return InvalidArgument("holds " + std::to_string(value) +
                               ", for which Q8_0 has no room");
      }
      most = std::max(most, std::abs(value));
    }
    const float scale = most / 127;
    const uint16_t stored = FloatToHalf(scale);
    if (std::isinf(HalfToFloat(stored))) return NoRoom(most, "Q8_0");
    Put(out, stored);
    for (const float value : block) {
      const float steps = scale > 0 ? std::round(value * (1 / scale)) : 0;
      Put(out, static_cast<int8_t>(std::clamp(steps, -127.0f, 127.0f)));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteData(AtomicFile& file, const GgufTensor& tensor) {
  std::vector<float> values(Elements(tensor));
  ALIGN_RETURN_IF_ERROR(tensor.read(values));
  std::string bytes;
  for (size_t at = 0; at < values.size(); at += kChunk) {
    const auto chunk = std::span<const float>(values).subspan(
        at, std::min(kChunk, values.size() - at));
    bytes.clear();
    switch (tensor.type) {
      case GgufType::kF32:
        bytes.assign(reinterpret_cast<const char*>(chunk.data()),
                     chunk.size_bytes());
        break;
      case GgufType::kF16:
      case GgufType::kBF16:
        ALIGN_RETURN_IF_ERROR(PutHalves(chunk, tensor.type, bytes));
        break;
      case GgufType::kQ8_0:
        ALIGN_RETURN_IF_ERROR(PutQ8(chunk, bytes));
        break;
    }
    ALIGN_RETURN_IF_ERROR(file.Write(bytes));
  }
  const uint64_t size = Bytes(tensor);
  return file.Write(std::string(Padded(size) - size, '\0'));
}

}  // namespace

absl::StatusOr<GgufType> ParseGgufType(std::string_view name) {
  for (const auto& [known, type] :
       {std::pair{"f32", GgufType::kF32}, std::pair{"f16", GgufType::kF16},
        std::pair{"bf16", GgufType::kBF16},
        std::pair{"q8_0", GgufType::kQ8_0}}) {
    if (name == known) return type;
  }
  return InvalidArgument("'" + std::string(name) +
                         "'; f32, f16, bf16 or q8_0 expected");
}

int64_t GgufBlock(GgufType type) {
  return type == GgufType::kQ8_0 ? kQ8Block : 1;
}

absl::Status WriteGguf(const std::string& path, const GgufMetadata& metadata,
                       const std::vector<GgufTensor>& tensors) {
  for (const GgufTensor& tensor : tensors) {
    ALIGN_RETURN_IF_ERROR(Annotate(CheckTensor(tensor), path));
  }
  ALIGN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  ALIGN_RETURN_IF_ERROR(file.Write(Header(metadata, tensors)));
  for (const GgufTensor& tensor : tensors) {
    ALIGN_RETURN_IF_ERROR(
        Annotate(WriteData(file, tensor), path + ": " + tensor.name));
  }
  return file.Commit();
}

}  // namespace align
