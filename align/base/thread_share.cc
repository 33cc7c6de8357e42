#include "align/base/thread_share.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "align/base/check.h"

namespace align {
namespace {

constexpr uint64_t kMark = 0x616c69676e746873;

}  // namespace

struct ThreadShare::State {
  uint64_t mark = kMark;
  int32_t threads = 1;
  std::atomic<int32_t> running = 0;
};

absl::Status ThreadShare::Map() {
  static_assert(std::atomic<int32_t>::is_always_lock_free);
  void* const memory = ::mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE,
                              MAP_SHARED, descriptor_, 0);
  if (memory == MAP_FAILED) {
    return Internal(std::string("shared memory: ") + std::strerror(errno));
  }
  state_ = static_cast<State*>(memory);
  return absl::OkStatus();
}

absl::StatusOr<ThreadShare> ThreadShare::Create(int threads) {
  ALIGN_CHECK(threads >= 1) << "[ThreadShare] " << threads << " threads";
  // Without MFD_CLOEXEC: children inherit it.
  ThreadShare share(::memfd_create("align threads", 0));
  if (share.descriptor_ < 0 ||
      ::ftruncate(share.descriptor_, sizeof(State)) != 0) {
    return Internal(std::string("shared memory: ") + std::strerror(errno));
  }
  ALIGN_RETURN_IF_ERROR(share.Map());
  new (share.state_) State;
  share.state_->threads = threads;
  return share;
}

absl::StatusOr<ThreadShare> ThreadShare::Open(int64_t descriptor) {
  const absl::Status refused = InvalidArgument(
      "descriptor " + std::to_string(descriptor) +
      ": expected one of threads that the parent process shares");
  struct stat about;
  if (descriptor < 0 || descriptor > std::numeric_limits<int>::max() ||
      ::fstat(static_cast<int>(descriptor), &about) != 0 ||
      !S_ISREG(about.st_mode) || about.st_size != sizeof(State)) {
    return refused;
  }
  ThreadShare share(static_cast<int>(descriptor));
  if (!share.Map().ok() || share.state_->mark != kMark ||
      share.state_->threads < 1) {
    return refused;
  }
  return share;
}

ThreadShare::ThreadShare(ThreadShare&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      state_(std::exchange(other.state_, nullptr)) {}

ThreadShare::~ThreadShare() {
  if (state_ != nullptr) ::munmap(state_, sizeof(State));
  if (descriptor_ >= 0) ::close(descriptor_);
}

void ThreadShare::Enter() { state_->running.fetch_add(1); }
void ThreadShare::Leave() { state_->running.fetch_sub(1); }

int ThreadShare::Part() const {
  return std::max(1, state_->threads / std::max(1, state_->running.load()));
}

}  // namespace align
