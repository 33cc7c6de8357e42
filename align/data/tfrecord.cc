#include "align/data/tfrecord.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/data/input_stream.h"

namespace align {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the framing is written as the machine stores integers");

constexpr size_t kHeaderBytes = 12;
constexpr size_t kFooterBytes = 4;
constexpr size_t kFlushBytes = size_t{1} << 20;
constexpr int kMaxCrcBytes = 1 << 30;  // ISA-L takes an int

template <typename T>
T Load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <typename T>
void AppendBytes(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

absl::Status Corrupt(const std::string& path, size_t offset,
                     const std::string& what) {
  return DataLoss(path + ": at offset " + std::to_string(offset) + ": " + what);
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  while (!bytes.empty()) {
    const int size = static_cast<int>(
        std::min<size_t>(bytes.size(), static_cast<size_t>(kMaxCrcBytes)));
    // The parameter is not const; the function only reads.
    crc = ::crc32_iscsi(
        reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data())), size,
        crc);
    bytes.remove_prefix(size);
  }
  return ~crc;
}

uint32_t MaskedCrc32c(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  // Masked, so that a CRC of data that holds CRCs stays a good check.
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

struct TfRecordWriter::State {
  AtomicFile file;
  std::string buffer;
  int64_t count = 0;
  bool closed = false;

  absl::Status Flush() {
    ALIGN_RETURN_IF_ERROR(file.Write(buffer));
    buffer.clear();
    return absl::OkStatus();
  }
};

absl::StatusOr<TfRecordWriter> TfRecordWriter::Create(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  return TfRecordWriter(
      std::make_unique<State>(State{.file = std::move(file), .buffer = {}}));
}

TfRecordWriter::TfRecordWriter(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
TfRecordWriter::TfRecordWriter(TfRecordWriter&&) noexcept = default;
TfRecordWriter& TfRecordWriter::operator=(TfRecordWriter&&) noexcept = default;
TfRecordWriter::~TfRecordWriter() = default;

int64_t TfRecordWriter::count() const { return state_->count; }

absl::Status TfRecordWriter::Append(std::string_view payload) {
  ALIGN_CHECK(!state_->closed) << "[TfRecordWriter] Append after Close";
  std::string& buffer = state_->buffer;
  const size_t header = buffer.size();
  AppendBytes(buffer, static_cast<uint64_t>(payload.size()));
  AppendBytes(buffer, MaskedCrc32c(std::string_view(buffer).substr(header)));
  buffer.append(payload.data(), payload.size());
  AppendBytes(buffer, MaskedCrc32c(payload));
  ++state_->count;
  if (buffer.size() < kFlushBytes) return absl::OkStatus();
  return state_->Flush();
}

absl::Status TfRecordWriter::Close() {
  ALIGN_CHECK(!state_->closed) << "[TfRecordWriter] Close twice";
  state_->closed = true;
  ALIGN_RETURN_IF_ERROR(state_->Flush());
  return state_->file.Commit();
}

struct TfRecordFile::State {
  std::string path;
  std::optional<MappedFile> mapped;
  std::string inflated;
  std::string_view bytes;  // of one of the two
  struct Extent {
    size_t begin;  // of the payload
    size_t size;
  };
  std::vector<Extent> records;

  absl::Status Index();
};

absl::Status TfRecordFile::State::Index() {
  size_t offset = 0;
  while (offset < bytes.size()) {
    const size_t left = bytes.size() - offset;
    if (left < kHeaderBytes) {
      return Corrupt(path, offset, "cut off in a record's header");
    }
    const uint32_t expected = Load<uint32_t>(bytes.data() + offset + 8);
    if (MaskedCrc32c(bytes.substr(offset, 8)) != expected) {
      return Corrupt(path, offset, "the length's CRC-32C does not match");
    }
    const uint64_t size = Load<uint64_t>(bytes.data() + offset);
    if (left < kHeaderBytes + kFooterBytes ||
        size > left - kHeaderBytes - kFooterBytes) {
      return Corrupt(path, offset,
                     "record of " + std::to_string(size) + " bytes, but " +
                         std::to_string(left - kHeaderBytes) +
                         " are left in the file");
    }
    records.push_back({.begin = offset + kHeaderBytes, .size = size});
    offset += kHeaderBytes + size + kFooterBytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<TfRecordFile> TfRecordFile::Open(const std::string& path,
                                                int64_t max_inflated_bytes) {
  auto state = std::make_unique<State>();
  state->path = path;
  ALIGN_ASSIGN_OR_RETURN(MappedFile mapped, MappedFile::Open(path));
  const auto raw = mapped.bytes();
  state->bytes = {reinterpret_cast<const char*>(raw.data()), raw.size()};
  // A record of 559,903 bytes starts like a gzip file, so the CRC decides.
  const bool is_record =
      raw.size() >= kHeaderBytes && MaskedCrc32c(state->bytes.substr(0, 8)) ==
                                        Load<uint32_t>(state->bytes.data() + 8);
  if (!is_record && state->bytes.starts_with("\x1f\x8b\x08")) {
    ALIGN_ASSIGN_OR_RETURN(state->inflated,
                           ReadWholeStream(path, max_inflated_bytes));
    state->bytes = state->inflated;
  } else {
    state->mapped.emplace(std::move(mapped));
  }
  ALIGN_RETURN_IF_ERROR(state->Index());
  return TfRecordFile(std::move(state));
}

TfRecordFile::TfRecordFile(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
TfRecordFile::TfRecordFile(TfRecordFile&&) noexcept = default;
TfRecordFile& TfRecordFile::operator=(TfRecordFile&&) noexcept = default;
TfRecordFile::~TfRecordFile() = default;

int64_t TfRecordFile::count() const {
  return static_cast<int64_t>(state_->records.size());
}

int64_t TfRecordFile::offset(int64_t index) const {
  ALIGN_CHECK(index >= 0 && index < count())
      << "[TfRecordFile] record " << index;
  return static_cast<int64_t>(state_->records[index].begin - kHeaderBytes);
}

const std::string& TfRecordFile::path() const { return state_->path; }

absl::StatusOr<std::string_view> TfRecordFile::Read(int64_t index) const {
  if (index < 0 || index >= count()) {
    return OutOfRange(state_->path + ": record " + std::to_string(index) +
                      " of " + std::to_string(count()));
  }
  const auto [begin, size] = state_->records[index];
  const std::string_view payload = state_->bytes.substr(begin, size);
  if (MaskedCrc32c(payload) !=
      Load<uint32_t>(state_->bytes.data() + begin + size)) {
    return Corrupt(state_->path, begin - kHeaderBytes,
                   "the payload's CRC-32C does not match (record " +
                       std::to_string(index) + ")");
  }
  return payload;
}

}  // namespace align
