#pragma once

#include <cstdint>
#include <functional>

namespace align {

// Sets how many OpenMP threads this process uses from now on (at least 1).
// The only process-wide setting of the toolkit; results do not depend on it.
void SetThreads(int threads);

// The number of threads that ParallelFor and oneDNN use.
int Threads();

// Calls body(i) once for every i in [0, count), on up to Threads() threads, in
// no particular order. `body` must not throw; iterations must write to
// disjoint memory. Inside another ParallelFor it runs serially.
void ParallelFor(int64_t count, const std::function<void(int64_t)>& body);

// While one lives, ParallelFor and oneDNN use one thread when called from this
// thread.
class SerialScope {
 public:
  SerialScope();
  ~SerialScope();
  SerialScope(const SerialScope&) = delete;
  SerialScope& operator=(const SerialScope&) = delete;

 private:
  int before_;
};

}  // namespace align
