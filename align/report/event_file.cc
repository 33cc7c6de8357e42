#include "align/report/event_file.h"

#include <fcntl.h>
#include <isa-l/crc.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <utility>

#include "proto/event.pb.h"

namespace align {
namespace {

// CRC-32C rotated and shifted as TFRecord stores it, so that the checksum of
// data that hold checksums stays useful (tensorflow/core/lib/hash/crc32c.h).
uint32_t MaskedCrc(std::string_view bytes) {
  std::string copy(bytes);  // the library takes a mutable pointer
  const uint32_t crc =
      ~crc32_iscsi(reinterpret_cast<unsigned char*>(copy.data()),
                   static_cast<int>(copy.size()), ~0u);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

template <typename T>
std::string LittleEndian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof value; ++i) {
    bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  }
  return bytes;
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= 200 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '.' || c == '-' || c == '_';
         });
}

}  // namespace

absl::StatusOr<EventFile> EventFile::Create(const std::string& directory,
                                            const EventFileOptions& options) {
  if (!IsPlainName(options.host)) {
    return InvalidArgument(directory +
                           ": event file: host expected to consist of "
                           "letters, digits, '.', '-' and '_'");
  }
  if (!(options.wall_time >= 0 && options.wall_time < 1e10)) {
    return InvalidArgument(directory +
                           ": event file: wall_time expected in seconds "
                           "since 1970");
  }
  char seconds[24];
  std::snprintf(seconds, sizeof seconds, "%010lld",
                static_cast<long long>(options.wall_time));
  EventFile file;
  file.path_ = directory + "/events.out.tfevents." + seconds + "." +
               options.host + "." + std::to_string(options.process_id) + "." +
               std::to_string(options.sequence);
  file.fd_ = ::open(file.path_.c_str(),
                    O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (file.fd_ < 0) {
    return InvalidArgument(file.path_ +
                           ": cannot create: " + std::strerror(errno));
  }
  pb::ScalarEvent event;
  event.set_wall_time(options.wall_time);
  event.set_file_version("brain.Event:2");
  ALIGN_RETURN_IF_ERROR(file.Append(event.SerializeAsString()));
  return file;
}

EventFile::EventFile(EventFile&& other) noexcept { *this = std::move(other); }

EventFile& EventFile::operator=(EventFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  return *this;
}

EventFile::~EventFile() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status EventFile::AddScalars(
    int64_t step, double wall_time,
    const std::vector<std::pair<std::string, double>>& scalars) {
  pb::ScalarEvent event;
  event.set_wall_time(wall_time);
  event.set_step(step);
  for (const auto& [tag, value] : scalars) {
    pb::ScalarSummary::Value* row = event.mutable_summary()->add_value();
    row->set_tag(tag);
    row->set_simple_value(static_cast<float>(value));
  }
  std::string payload;
  // Parsing is where protobuf enforces UTF-8; readers would fail there.
  pb::ScalarEvent check;
  if (!event.SerializeToString(&payload) || payload.size() > INT_MAX ||
      !check.ParseFromString(payload)) {
    return InvalidArgument(path_ + ": step " + std::to_string(step) +
                           ": tags of UTF-8 expected");
  }
  return Append(payload);
}

absl::Status EventFile::Append(std::string_view payload) {
  const std::string length = LittleEndian<uint64_t>(payload.size());
  std::string record = length + LittleEndian(MaskedCrc(length));
  record += payload;
  record += LittleEndian(MaskedCrc(payload));
  std::string_view rest = record;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return ResourceExhausted(path_ +
                               ": cannot write: " + std::strerror(errno));
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace align
