#include "align/base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "align/base/check.h"

namespace align {
namespace {

std::string Why(const std::string& path, const char* what) {
  return path + ": " + what + ": " + std::strerror(errno);
}

// A descriptor that closes itself.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// The size of an open regular file, or a status that names `path`.
absl::StatusOr<int64_t> RegularFileSize(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Internal(Why(path, "cannot stat"));
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument(path + ": not a regular file");
  }
  return static_cast<int64_t>(info.st_size);
}

absl::Status OpenError(const std::string& path) {
  return errno == ENOENT ? NotFound(path + ": no such file")
                         : InvalidArgument(Why(path, "cannot open"));
}

absl::Status WriteAll(int fd, std::string_view contents,
                      const std::string& path) {
  while (!contents.empty()) {
    const ssize_t written = ::write(fd, contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ResourceExhausted(Why(path, "cannot write"));
    }
    contents.remove_prefix(written);
  }
  return absl::OkStatus();
}

std::string HexDigest(XXH128_hash_t hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return OpenError(path);
  ALIGN_ASSIGN_OR_RETURN(const int64_t size, RegularFileSize(fd.get(), path));
  if (size > max_bytes) {
    return ResourceExhausted(path + ": " + std::to_string(size) +
                             " bytes; at most " + std::to_string(max_bytes) +
                             " expected");
  }
  std::string contents(size, '\0');
  int64_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(fd.get(), contents.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Internal(Why(path, "cannot read"));
    if (got == 0) break;  // the file shrank under us
    done += got;
  }
  contents.resize(done);
  return contents;
}

absl::Status WriteFileAtomically(const std::string& path,
                                 std::string_view contents) {
  ALIGN_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  ALIGN_RETURN_IF_ERROR(file.Write(contents));
  return file.Commit();
}

absl::StatusOr<AtomicFile> AtomicFile::Create(const std::string& path) {
  AtomicFile file;
  file.path_ = path;
  file.aside_ = path + ".tmp-" + std::to_string(::getpid());
  file.fd_ = ::open(file.aside_.c_str(),
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file.fd_ < 0) return InvalidArgument(Why(file.aside_, "cannot create"));
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept {
  *this = std::move(other);
}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(aside_, other.aside_);
  std::swap(fd_, other.fd_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(aside_.c_str());
}

absl::Status AtomicFile::Write(std::string_view bytes) {
  ALIGN_CHECK(fd_ >= 0) << "written after Commit: " << path_;
  return WriteAll(fd_, bytes, path_);
}

absl::Status AtomicFile::Commit() {
  ALIGN_CHECK(fd_ >= 0) << "committed twice: " << path_;
  if (::fsync(fd_) != 0) {
    return ResourceExhausted(Why(path_, "cannot fsync"));
  }
  if (::rename(aside_.c_str(), path_.c_str()) != 0) {
    return Internal(Why(path_, "cannot rename to"));
  }
  ::close(fd_);
  fd_ = -1;
  const std::string parent =
      std::filesystem::path(path_).parent_path().string();
  return SyncDirectory(parent.empty() ? "." : parent);
}

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error || !std::filesystem::is_directory(path, error)) {
    return InvalidArgument(path +
                           ": cannot make directory: " + error.message());
  }
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return InvalidArgument(Why(path, "cannot open directory"));
  if (::fsync(fd.get()) != 0) {
    return ResourceExhausted(Why(path, "cannot fsync directory"));
  }
  return absl::OkStatus();
}

bool FileExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return OpenError(path);
  ALIGN_ASSIGN_OR_RETURN(const int64_t size, RegularFileSize(fd.get(), path));
  MappedFile file;
  file.path_ = path;
  if (size > 0) {
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (data == MAP_FAILED) return Internal(Why(path, "cannot map"));
    file.data_ = static_cast<const std::byte*>(data);
    file.size_ = size;
  }
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept {
  *this = std::move(other);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string ContentHash(std::string_view bytes) {
  return HexDigest(XXH3_128bits(bytes.data(), bytes.size()));
}

absl::StatusOr<std::string> FileContentHash(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return HexDigest(XXH3_128bits(file.bytes().data(), file.bytes().size()));
}

}  // namespace align
