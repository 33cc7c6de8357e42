#pragma once

#include <cstdint>

#include "align/base/status.h"

namespace align {

// The threads of a job that several processes compute in side by side: each
// takes an equal part of them, which changes when another begins or ends. The
// job makes one, its children open it by the descriptor that they inherit.
// Results do not depend on threads, so a part may change at any time. Any
// thread may call.
class ThreadShare {
 public:
  // Of `threads` threads, with no process at work. kInternal: the system gives
  // no memory for it.
  static absl::StatusOr<ThreadShare> Create(int threads);
  // The job's; kInvalidArgument when the descriptor is of something else.
  static absl::StatusOr<ThreadShare> Open(int64_t descriptor);

  ThreadShare(ThreadShare&& other) noexcept;
  ThreadShare& operator=(ThreadShare&&) = delete;
  ~ThreadShare();  // closes the descriptor

  int descriptor() const { return descriptor_; }

  // One more process is at work, or one fewer.
  void Enter();
  void Leave();

  // The threads of one process, at least 1: all of them when it is alone.
  int Part() const;

 private:
  struct State;  // in memory that processes share
  explicit ThreadShare(int descriptor) : descriptor_(descriptor) {}
  absl::Status Map();

  int descriptor_;
  State* state_ = nullptr;
};

}  // namespace align
