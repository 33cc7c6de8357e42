#include "align/base/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace align {
namespace {

// A file that holds one number, or `otherwise` (also for cgroup's "max").
int64_t NumberIn(const char* path, int64_t otherwise) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : otherwise;
}

}  // namespace

int64_t PeakResidentBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

int64_t AvailableMemoryBytes() {
  constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
  int64_t machine = kUnlimited;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key; meminfo >> key;) {
    int64_t kilobytes = 0;
    if (key == "MemAvailable:" && meminfo >> kilobytes) {
      machine = kilobytes * 1024;
      break;
    }
  }
  const int64_t limit = NumberIn("/sys/fs/cgroup/memory.max", kUnlimited);
  if (limit == kUnlimited) return machine;
  const int64_t used = NumberIn("/sys/fs/cgroup/memory.current", 0);
  return std::min(machine, std::max<int64_t>(0, limit - used));
}

}  // namespace align
