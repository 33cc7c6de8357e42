#include "align/models/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <tuple>
#include <utility>

#include "align/base/json_document.h"
#include "align/models/float16.h"

namespace align {
namespace {

static_assert(std::endian::native == std::endian::little,
              "safetensors data are little endian");

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxNameBytes = 1024;
constexpr size_t kMaxDimensions = 8;
constexpr size_t kMaxJsonDepth = 8;

struct DtypeRow {
  StoredDtype dtype;
  std::string_view name;
  int64_t bytes;
};

constexpr std::array<DtypeRow, 15> kDtypes = {{
    {StoredDtype::kBool, "BOOL", 1},
    {StoredDtype::kU8, "U8", 1},
    {StoredDtype::kI8, "I8", 1},
    {StoredDtype::kF8E4M3, "F8_E4M3", 1},
    {StoredDtype::kF8E5M2, "F8_E5M2", 1},
    {StoredDtype::kI16, "I16", 2},
    {StoredDtype::kU16, "U16", 2},
    {StoredDtype::kF16, "F16", 2},
    {StoredDtype::kBF16, "BF16", 2},
    {StoredDtype::kI32, "I32", 4},
    {StoredDtype::kU32, "U32", 4},
    {StoredDtype::kF32, "F32", 4},
    {StoredDtype::kI64, "I64", 8},
    {StoredDtype::kU64, "U64", 8},
    {StoredDtype::kF64, "F64", 8},
}};

// A tensor's place in the data part, before it is known to fit.
struct Entry {
  TensorInfo info;
  uint64_t begin = 0;
  uint64_t end = 0;
};

template <typename Convert>
void ConvertAll(std::span<const std::byte> bytes, std::span<float> out,
                Convert convert) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t element;  // the data may be unaligned
    std::memcpy(&element, bytes.data() + 2 * i, sizeof element);
    out[i] = convert(element);
  }
}

absl::Status CheckName(std::string_view name, const std::string& where) {
  if (name.size() > kMaxNameBytes) {
    return InvalidArgument(where + ": a name of " +
                           std::to_string(name.size()) +
                           " bytes; at most 1024 expected");
  }
  // Escapes can spell what the parser does not check: lone surrogates, and
  // control characters that would reach a terminal with our messages.
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F;
  });
  if (!printable || !simdjson::validate_utf8(name.data(), name.size())) {
    return InvalidArgument(where + ": a name that is not printable UTF-8");
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredDtype> ParseDtype(simdjson::dom::element value,
                                       const std::string& where) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) {
    return InvalidArgument(where + ": dtype is not a string");
  }
  for (const DtypeRow& row : kDtypes) {
    if (row.name == text) return row.dtype;
  }
  std::string known;
  for (const DtypeRow& row : kDtypes) known.append(" ").append(row.name);
  return InvalidArgument(where + ": unknown dtype " +
                         std::string(text.substr(0, 32)) + "; known are" +
                         known);
}

// Between 0 and `max_count` integers in [0, 2^63).
absl::StatusOr<std::vector<int64_t>> ParseCounts(simdjson::dom::element value,
                                                 size_t max_count,
                                                 const std::string& where) {
  simdjson::dom::array array;
  if (value.get(array) != simdjson::SUCCESS) {
    return InvalidArgument(where + " is not an array");
  }
  std::vector<int64_t> counts;
  for (const simdjson::dom::element item : array) {
    int64_t count = 0;
    if (item.get(count) != simdjson::SUCCESS || count < 0) {
      return InvalidArgument(where + " holds what is not an integer >= 0");
    }
    if (counts.size() == max_count) {
      return InvalidArgument(where + " has more than " +
                             std::to_string(max_count) + " entries");
    }
    counts.push_back(count);
  }
  return counts;
}

// Whether shape x dtype is exactly the bytes between the offsets.
absl::Status CheckSize(const Entry& entry, const std::string& where) {
  int64_t bytes = DtypeBytes(entry.info.dtype);
  // A zero anywhere makes the product 0 whatever the other factors are.
  const bool empty = std::count(entry.info.shape.begin(),
                                entry.info.shape.end(), int64_t{0}) > 0;
  if (empty) bytes = 0;
  for (const int64_t extent : entry.info.shape) {
    if (!empty && __builtin_mul_overflow(bytes, extent, &bytes)) {
      return InvalidArgument(where + ": shape " + ShapeText(entry.info.shape) +
                             " overflows");
    }
  }
  if (entry.begin > entry.end ||
      entry.end - entry.begin != static_cast<uint64_t>(bytes)) {
    return InvalidArgument(
        where + ": data_offsets [" + std::to_string(entry.begin) + ", " +
        std::to_string(entry.end) + "]; shape " + ShapeText(entry.info.shape) +
        " of " + std::string(DtypeName(entry.info.dtype)) + " expects " +
        std::to_string(bytes) + " bytes");
  }
  return absl::OkStatus();
}

absl::StatusOr<Entry> ParseEntry(std::string_view name,
                                 simdjson::dom::element value,
                                 const std::string& where) {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    return InvalidArgument(where + ": not an object");
  }
  Entry entry;
  entry.info.name = name;
  bool has_dtype = false, has_shape = false, has_offsets = false;
  for (const auto& [key, field] : object) {
    bool* has = key == "dtype"          ? &has_dtype
                : key == "shape"        ? &has_shape
                : key == "data_offsets" ? &has_offsets
                                        : nullptr;
    if (has == nullptr || *has) {
      return InvalidArgument(
          where +
          ": a field that is unknown or given twice; dtype, shape "
          "and data_offsets expected, once each");
    }
    *has = true;
    if (has == &has_dtype) {
      ALIGN_ASSIGN_OR_RETURN(entry.info.dtype, ParseDtype(field, where));
    } else if (has == &has_shape) {
      ALIGN_ASSIGN_OR_RETURN(
          entry.info.shape,
          ParseCounts(field, kMaxDimensions, where + ": shape"));
    } else {
      ALIGN_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets,
                             ParseCounts(field, 2, where + ": data_offsets"));
      if (offsets.size() != 2) {
        return InvalidArgument(where + ": data_offsets expects two integers");
      }
      entry.begin = static_cast<uint64_t>(offsets[0]);
      entry.end = static_cast<uint64_t>(offsets[1]);
    }
  }
  if (!has_dtype || !has_shape || !has_offsets) {
    return InvalidArgument(where + ": dtype, shape and data_offsets expected");
  }
  ALIGN_RETURN_IF_ERROR(CheckSize(entry, where));
  return entry;
}

absl::Status ParseMetadata(simdjson::dom::element value,
                           const std::string& where,
                           std::map<std::string, std::string>& metadata) {
  simdjson::dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    return InvalidArgument(where + ": __metadata__ is not an object");
  }
  for (const auto& [key, field] : object) {
    std::string_view text;
    if (field.get(text) != simdjson::SUCCESS) {
      return InvalidArgument(where + ": __metadata__ holds what is no string");
    }
    if (!metadata.emplace(key, text).second) {
      return InvalidArgument(where + ": __metadata__ names a key twice");
    }
  }
  return absl::OkStatus();
}

// Sorts by place and checks that the entries cover [0, data_bytes) without
// holes or overlaps: bytes that nobody names could hide a second format.
absl::Status CheckTiling(std::vector<Entry>& entries, uint64_t data_bytes,
                         const std::string& where) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.info.name) <
           std::tie(b.begin, b.end, b.info.name);
  });
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != covered) {
      return InvalidArgument(
          where + ": " + entry.info.name + ": data begin at " +
          std::to_string(entry.begin) + ", expected " +
          std::to_string(covered) +
          (entry.begin > covered ? " (a hole)" : " (an overlap)"));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    return InvalidArgument(where + ": tensors cover " +
                           std::to_string(covered) + " bytes of data; the " +
                           "file holds " + std::to_string(data_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view DtypeName(StoredDtype dtype) {
  return kDtypes[static_cast<size_t>(dtype)].name;
}

int64_t DtypeBytes(StoredDtype dtype) {
  return kDtypes[static_cast<size_t>(dtype)].bytes;
}

bool ConvertsToFloat(StoredDtype dtype) {
  return dtype == StoredDtype::kF32 || dtype == StoredDtype::kF16 ||
         dtype == StoredDtype::kBF16;
}

std::string ShapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (const int64_t extent : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(extent);
  }
  return text + "]";
}

absl::Status CopyToFloat(const TensorInfo& info, std::span<float> out) {
  if (static_cast<int64_t>(out.size()) != info.ElementCount()) {
    return InvalidArgument(info.name + ": " +
                           std::to_string(info.ElementCount()) +
                           " elements; room for " + std::to_string(out.size()));
  }
  switch (info.dtype) {
    case StoredDtype::kF32:
      if (!out.empty()) {
        std::memcpy(out.data(), info.bytes.data(), info.bytes.size());
      }
      return absl::OkStatus();
    case StoredDtype::kF16:
      ConvertAll(info.bytes, out, HalfToFloat);
      return absl::OkStatus();
    case StoredDtype::kBF16:
      ConvertAll(info.bytes, out, BfloatToFloat);
      return absl::OkStatus();
    default:
      return Unimplemented(info.name + ": dtype " +
                           std::string(DtypeName(info.dtype)) +
                           "; F32, F16 or BF16 expected");
  }
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  SafetensorsFile file(std::move(mapped));
  ALIGN_RETURN_IF_ERROR(file.ParseHeader());
  return file;
}

const TensorInfo* SafetensorsFile::Find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

absl::Status SafetensorsFile::ParseHeader() {
  const std::span<const std::byte> bytes = file_.bytes();
  uint64_t length = 0;
  if (bytes.size() < kLengthBytes) {
    return InvalidArgument(path() + ": " + std::to_string(bytes.size()) +
                           " bytes; a safetensors file has at least 8");
  }
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > bytes.size() - kLengthBytes) {
    return InvalidArgument(path() + ": a header of " + std::to_string(length) +
                           " bytes; at most " +
                           std::to_string(std::min<uint64_t>(
                               kMaxHeaderBytes, bytes.size() - kLengthBytes)) +
                           " expected");
  }
  const std::string_view header(
      reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (!header.starts_with('{')) {
    return InvalidArgument(path() + ": the header does not start with '{'");
  }
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(
      const simdjson::dom::object object,
      ParseJsonObject(parser, header, path(), kMaxJsonDepth));

  std::vector<Entry> entries;
  bool has_metadata = false;
  for (const auto& [name, value] : object) {
    if (name == "__metadata__") {
      if (std::exchange(has_metadata, true)) {
        return InvalidArgument(path() + ": __metadata__ is given twice");
      }
      ALIGN_RETURN_IF_ERROR(ParseMetadata(value, path(), metadata_));
      continue;
    }
    ALIGN_RETURN_IF_ERROR(CheckName(name, path()));
    const std::string where = path() + ": " + std::string(name);
    ALIGN_ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, value, where));
    entries.push_back(std::move(entry));
  }
  const auto data = bytes.subspan(kLengthBytes + length);
  ALIGN_RETURN_IF_ERROR(CheckTiling(entries, data.size(), path()));
  for (Entry& entry : entries) {
    entry.info.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    if (!index_.emplace(entry.info.name, tensors_.size()).second) {
      return InvalidArgument(path() + ": " + entry.info.name +
                             " is named twice");
    }
    tensors_.push_back(std::move(entry.info));
  }
  return absl::OkStatus();
}

}  // namespace align
