#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace align {

// Memory that will be read from its beginning on.
struct MemoryStretch {
  const void* begin = nullptr;
  int64_t bytes = 0;
};

// Runs body() on this thread while Threads() - 1 others wait for the
// ParallelFors in it, which then cost about a microsecond each instead of the
// start of an OpenMP region: for hundreds of short loops in a row. The others
// wait busily and go to sleep when it takes long. oneDNN's calls inside use one
// thread; what is to share them cuts them into parts. Inside a ParallelFor or
// another team it is a plain call. `body` must not throw.
void WithTeam(const std::function<void()>& body);

// Threads of the team that the caller leads; 1 without one.
int TeamThreads();

// From the end of the next ParallelFor on, the other threads of the caller's
// team fetch memory into their caches while they wait, each as much as its
// cache has room for beside other things. list(t, stretches), called here for
// each of them, t from 1 on, appends what it is to fetch, up to four stretches:
// what the loop after that will read in this part, in this order. Ends with the
// team; needs no memory to be there.
using ListStretches =
    std::function<void(int thread, std::vector<MemoryStretch>& stretches)>;
void TeamReadsAhead(const ListStretches& list);

}  // namespace align
