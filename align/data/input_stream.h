#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "align/base/status.h"

namespace align {

// The bytes of a file in order, inflated on the way if the file starts with
// gzip's magic number (members one after the other are one stream). Movable;
// one thread at a time.
class InputStream {
 public:
  // kNotFound or kInvalidArgument names the path; a folder is not a stream.
  static absl::StatusOr<InputStream> Open(const std::string& path);
  InputStream(InputStream&&) noexcept;
  InputStream& operator=(InputStream&&) noexcept;
  ~InputStream();

  // Fills `out` with up to `size` bytes; fewer only at the end of the stream.
  // kDataLoss: the compressed stream is corrupt or ends early.
  absl::StatusOr<size_t> Read(char* out, size_t size);

 private:
  struct State;
  explicit InputStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The whole (inflated) file; kResourceExhausted once it exceeds max_bytes, so
// that a small compressed file cannot fill the memory.
absl::StatusOr<std::string> ReadWholeStream(const std::string& path,
                                            int64_t max_bytes);

}  // namespace align
