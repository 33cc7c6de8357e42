#pragma once

// Private to align/dnnl: how the threads of a team (align/base/team.h) share a
// product, whose calls of oneDNN use one thread each. By rows: both operands
// stay where they are.

#include <algorithm>
#include <cstdint>

#include "align/base/team.h"
#include "align/base/threads.h"

namespace align {

// Parts of a product of `rows` rows with a right side of `right_bytes`: 1
// without a team or with too few rows, or as many for each thread, of about 192
// rows, where oneDNN is at its best. Each part reads the whole right side: one
// that no core's own cache holds is read once by each thread.
inline int64_t TeamRowParts(int64_t rows, int64_t right_bytes) {
  constexpr int64_t kLeast = 16, kBest = 192;
  constexpr int64_t kLarge = int64_t{3} << 19;
  const int64_t threads = TeamThreads();
  if (threads == 1 || rows < kLeast * threads) return 1;
  if (right_bytes > kLarge) return threads;
  return threads *
         std::max<int64_t>(1, (rows + kBest * threads / 2) / (kBest * threads));
}

// body(begin, count) for all parts of `rows` rows.
template <class Body>
void ForTeamRowParts(int64_t rows, int64_t right_bytes, const Body& body) {
  const int64_t parts = TeamRowParts(rows, right_bytes);
  if (parts == 1) return body(0, rows);
  ParallelFor(parts, [&](int64_t part) {
    const SerialScope serial;
    const int64_t begin = rows * part / parts;
    body(begin, rows * (part + 1) / parts - begin);
  });
}

}  // namespace align
