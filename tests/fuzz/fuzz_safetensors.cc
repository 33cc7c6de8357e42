// Any bytes as a safetensors file: a status, or tensors that can all be read.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "align/base/check.h"
#include "align/models/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = ::memfd_create("safetensors", MFD_CLOEXEC);
  ALIGN_CHECK(fd >= 0 && ::write(fd, data, size) == static_cast<ssize_t>(size))
      << "no memory file";
  const auto file =
      align::SafetensorsFile::Open("/proc/self/fd/" + std::to_string(fd));
  ::close(fd);
  if (!file.ok()) return 0;
  size_t bytes = 0;
  for (const align::TensorInfo& info : file->tensors()) {
    bytes += info.bytes.size();
    std::vector<float> values(info.ElementCount());
    ALIGN_CHECK(align::CopyToFloat(info, values).ok() ==
                align::ConvertsToFloat(info.dtype))
        << info.name;
    ALIGN_CHECK(file->Find(info.name) == &info) << info.name;
  }
  ALIGN_CHECK(bytes <= size) << bytes;
  return 0;
}
