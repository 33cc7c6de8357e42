#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"

namespace align {

// The whole file. kNotFound or kInvalidArgument names the path; files larger
// than max_bytes are refused before anything is allocated.
absl::StatusOr<std::string> ReadFile(const std::string& path,
                                     int64_t max_bytes = int64_t{1} << 31);

// Writes beside `path`, fsyncs, renames over it and fsyncs the directory: a
// reader sees the old file or the new one, never a part.
absl::Status WriteFileAtomically(const std::string& path,
                                 std::string_view contents);

// A file that appears under its name only when it is complete, for contents too
// large to hold at once. Writes go to a file beside `path`; Commit fsyncs,
// renames and fsyncs the directory. Destroyed without Commit, it leaves
// nothing. Owned by one thread.
class AtomicFile {
 public:
  // kInvalidArgument if the file beside `path` cannot be created.
  static absl::StatusOr<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Appends; kResourceExhausted when the disk refuses. After an error only
  // destruction makes sense.
  absl::Status Write(std::string_view bytes);
  // Ends the file; nothing may be written afterwards. A failed fsync is final:
  // the kernel may already have dropped the pages.
  absl::Status Commit();

 private:
  AtomicFile() = default;
  std::string path_;
  std::string aside_;
  int fd_ = -1;  // -1: committed, moved from or never opened
};

// Makes `path` and its parents; an existing directory is fine.
absl::Status MakeDirectories(const std::string& path);

// fsync of a directory, so that names created in it survive a crash.
absl::Status SyncDirectory(const std::string& path);

bool FileExists(const std::string& path);

// A read-only private mapping of a whole file. Movable; unmaps in its
// destructor. Spans from bytes() must not outlive it.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile() = default;
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// 128-bit XXH3 of `bytes` as 32 lower-case hex digits: a content key, not a
// defence against forgery.
std::string ContentHash(std::string_view bytes);
// The same of a file's bytes, read in pieces.
absl::StatusOr<std::string> FileContentHash(const std::string& path);

}  // namespace align
