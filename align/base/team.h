#pragma once

#include <cstdint>
#include <functional>

namespace align {

// Runs body() on this thread while Threads() - 1 others wait for the
// ParallelFors in it, which then cost about a microsecond each instead of the
// start of an OpenMP region: for hundreds of short loops in a row. The others
// wait busily and go to sleep when it takes long. oneDNN's calls inside use one
// thread; what is to share them cuts them into parts. Inside a ParallelFor or
// another team it is a plain call. `body` must not throw.
void WithTeam(const std::function<void()>& body);

// Threads of the team that the caller leads; 1 without one.
int TeamThreads();

}  // namespace align
