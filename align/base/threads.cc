#include "align/base/threads.h"

#include <omp.h>

#include "align/base/check.h"

namespace align {

void SetThreads(int threads) {
  ALIGN_CHECK(threads >= 1) << "[SetThreads] " << threads;
  omp_set_num_threads(threads);
}

SerialScope::SerialScope() : before_(omp_get_max_threads()) {
  omp_set_num_threads(1);
}
SerialScope::~SerialScope() { omp_set_num_threads(before_); }

int Threads() { return omp_get_max_threads(); }

void ParallelFor(int64_t count, const std::function<void(int64_t)>& body) {
  if (count <= 1 || omp_in_parallel() || Threads() == 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace align
