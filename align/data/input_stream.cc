#include "align/data/input_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace align {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 18;
constexpr int kGzipWindow = 15 + 16;  // the largest window, gzip framing

}  // namespace

struct InputStream::State {
  explicit State(std::string path)
      : path(std::move(path)), input(kChunkBytes) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (inflating) ::inflateEnd(&zlib);
    if (fd >= 0) ::close(fd);
  }

  // Refills `input`; sets `ended` at the end of the file.
  absl::Status Refill() {
    ssize_t got = 0;
    do {
      got = ::read(fd, input.data(), input.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
      return DataLoss(path + ": cannot read: " + std::strerror(errno));
    }
    begin = 0;
    end = static_cast<size_t>(got);
    offset += got;
    ended = got == 0;
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> ReadPlain(char* out, size_t size);
  absl::StatusOr<size_t> ReadGzip(char* out, size_t size);

  std::string path;
  int fd = -1;
  std::vector<char> input;
  size_t begin = 0;  // unread part of `input`
  size_t end = 0;
  int64_t offset = 0;  // in the file, of `end`
  bool ended = false;
  bool gzip = false;
  bool inflating = false;  // `zlib` is initialised
  bool in_member = false;
  z_stream zlib{};
};

absl::StatusOr<size_t> InputStream::State::ReadPlain(char* out, size_t size) {
  size_t done = 0;
  while (done < size) {
    if (begin == end) {
      if (ended) break;
      ALIGN_RETURN_IF_ERROR(Refill());
      continue;
    }
    const size_t count = std::min(size - done, end - begin);
    std::memcpy(out + done, input.data() + begin, count);
    begin += count;
    done += count;
  }
  return done;
}

absl::StatusOr<size_t> InputStream::State::ReadGzip(char* out, size_t size) {
  size_t done = 0;
  while (done < size) {
    if (begin == end) {
      if (!ended) {
        ALIGN_RETURN_IF_ERROR(Refill());
        continue;
      }
      if (in_member) {
        return DataLoss(path + ": gzip stream ends early, at offset " +
                        std::to_string(offset));
      }
      break;
    }
    if (!in_member) {
      if (::inflateReset(&zlib) != Z_OK) return Internal(path + ": zlib");
      in_member = true;
    }
    zlib.next_in = reinterpret_cast<Bytef*>(input.data() + begin);
    zlib.avail_in = static_cast<uInt>(end - begin);
    zlib.next_out = reinterpret_cast<Bytef*>(out + done);
    const size_t room = std::min<size_t>(size - done, size_t{1} << 30);
    zlib.avail_out = static_cast<uInt>(room);
    const int code = ::inflate(&zlib, Z_NO_FLUSH);
    begin = end - zlib.avail_in;
    done += room - zlib.avail_out;
    if (code == Z_STREAM_END) {
      in_member = false;
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      return DataLoss(
          path + ": corrupt gzip stream near offset " +
          std::to_string(offset - static_cast<int64_t>(zlib.avail_in)) +
          (zlib.msg == nullptr ? "" : std::string(": ") + zlib.msg));
    }
  }
  return done;
}

absl::StatusOr<InputStream> InputStream::Open(const std::string& path) {
  auto state = std::make_unique<State>(path);
  state->fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (state->fd < 0) {
    if (errno == ENOENT) return NotFound(path + ": no such file");
    return InvalidArgument(path + ": cannot open: " + std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(state->fd, &info) != 0 || S_ISDIR(info.st_mode)) {
    return InvalidArgument(path + ": not a file");
  }
  ALIGN_RETURN_IF_ERROR(state->Refill());
  const auto byte = [&](size_t i) {
    return static_cast<uint8_t>(state->input[i]);
  };
  state->gzip = state->end >= 2 && byte(0) == 0x1f && byte(1) == 0x8b;
  if (state->gzip) {
    if (::inflateInit2(&state->zlib, kGzipWindow) != Z_OK) {
      return Internal(path + ": zlib does not start");
    }
    state->inflating = true;
  }
  return InputStream(std::move(state));
}

InputStream::InputStream(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
InputStream::InputStream(InputStream&&) noexcept = default;
InputStream& InputStream::operator=(InputStream&&) noexcept = default;
InputStream::~InputStream() = default;

absl::StatusOr<size_t> InputStream::Read(char* out, size_t size) {
  return state_->gzip ? state_->ReadGzip(out, size)
                      : state_->ReadPlain(out, size);
}

absl::StatusOr<std::string> ReadWholeStream(const std::string& path,
                                            int64_t max_bytes) {
  ALIGN_ASSIGN_OR_RETURN(InputStream stream, InputStream::Open(path));
  std::string contents;
  std::vector<char> chunk(kChunkBytes);
  while (true) {
    ALIGN_ASSIGN_OR_RETURN(const size_t got,
                           stream.Read(chunk.data(), chunk.size()));
    if (got == 0) return contents;
    if (static_cast<int64_t>(contents.size() + got) > max_bytes) {
      return ResourceExhausted(path + ": more than " +
                               std::to_string(max_bytes) + " bytes");
    }
    contents.append(chunk.data(), got);
  }
}

}  // namespace align
