#include "align/base/threads.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "align/base/check.h"
#include "align/base/team.h"

namespace align {
namespace {

// Looks before a waiting thread goes to sleep: about half a millisecond, or,
// where threads outnumber cores and one waits for another's place, much less.
constexpr int kBusyLooks = 40000;
constexpr int kCrowdedLooks = 400;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Returns once done(value). Busy at first, for loops that follow each other
// closely, with a call of between_looks() after each look; then asleep, because
// on a busy machine the thread that is waited for may need this one's place.
template <class T, class Done, class Between>
void WaitUntil(const std::atomic<T>& value, int most_looks, const Done& done,
               const Between& between_looks) {
  T seen = value.load(std::memory_order_acquire);
  for (int looks = 0; looks < most_looks && !done(seen); ++looks) {
    between_looks();
    seen = value.load(std::memory_order_acquire);
  }
  while (!done(seen)) {
    value.wait(seen, std::memory_order_acquire);
    seen = value.load(std::memory_order_acquire);
  }
}

// What a waiting thread still has to fetch.
class Fetching {
 public:
  void Begin(const std::vector<MemoryStretch>& stretches) {
    count_ = std::min<int64_t>(kStretches, std::ssize(stretches));
    std::copy_n(stretches.begin(), count_, stretches_.begin());
    next_ = 0;
    left_ = kMost;
    at_ = end_ = nullptr;
  }
  void FetchLineOrPause() {
    if (at_ == end_) {
      if (next_ == count_ || left_ == 0) return Pause();
      const MemoryStretch& stretch = stretches_[next_++];
      const int64_t bytes = std::min(stretch.bytes, left_);
      left_ -= bytes;
      at_ = static_cast<const char*>(stretch.begin);
      end_ = at_ + bytes;
      if (at_ == end_) return;
    }
    __builtin_prefetch(at_);
    at_ += std::min<int64_t>(kLine, end_ - at_);
  }

 private:
  static constexpr int64_t kStretches = 4;
  // Half of a small L2 cache of today.
  static constexpr int64_t kMost = int64_t{1} << 19;
  static constexpr int64_t kLine = 64;
  std::array<MemoryStretch, kStretches> stretches_;
  int64_t count_ = 0, next_ = 0, left_ = 0;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

// One leader and `others` who serve; all of them call body(i) for the indices
// they take. A round begins when the leader says so and ends when all others
// have said that they are done with it.
class Team {
 public:
  explicit Team(int others)
      : others_(others),
        looks_(others < omp_get_num_procs() ? kBusyLooks : kCrowdedLooks) {}

  int threads() const { return others_ + 1; }

  void Run(int64_t count, const std::function<void(int64_t)>& body) {
    body_ = &body;
    count_ = count;
    fetch_anew_ = std::exchange(asked_to_fetch_, false);
    next_.store(0, std::memory_order_relaxed);
    busy_.store(others_, std::memory_order_relaxed);
    BeginRound();
    Work();
    WaitUntil(
        busy_, looks_, [](int busy) { return busy == 0; }, Pause);
  }

  // What the others fetch from the end of the next round on.
  void Fetch(const ListStretches& list) {
    stretches_.resize(threads());
    for (int thread = 1; thread < threads(); ++thread) {
      stretches_[thread].clear();
      list(thread, stretches_[thread]);
    }
    asked_to_fetch_ = true;
  }

  // For the others, the `index`-th thread of all.
  void Serve(int index) {
    Fetching fetching;
    for (uint32_t round = 0;; ++round) {
      WaitUntil(
          round_, looks_, [&](uint32_t begun) { return begun != round; },
          [&] { fetching.FetchLineOrPause(); });
      if (count_ < 0) return;
      Work();
      if (fetch_anew_) fetching.Begin(stretches_[index]);
      if (busy_.fetch_sub(1, std::memory_order_release) == 1) {
        busy_.notify_one();
      }
    }
  }

  // Lets those who serve go.
  void End() {
    count_ = -1;
    BeginRound();
  }

 private:
  void BeginRound() {
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }
  void Work() {
    for (int64_t i = next_++; i < count_; i = next_++) (*body_)(i);
  }

  const int others_;
  const int looks_;
  const std::function<void(int64_t)>* body_ = nullptr;
  int64_t count_ = 0;
  std::vector<std::vector<MemoryStretch>> stretches_;  // by thread
  bool asked_to_fetch_ = false;
  bool fetch_anew_ = false;  // after this round
  std::atomic<int64_t> next_ = 0;
  alignas(64) std::atomic<uint32_t> round_ = 0;  // wraps around
  alignas(64) std::atomic<int> busy_ = 0;
};

// The team that this thread leads and no loop of which is running.
thread_local Team* current_team = nullptr;

}  // namespace

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
  Team* const team = current_team;
  if (count <= 1 || Threads() == 1 || (team == nullptr && omp_in_parallel())) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  if (team != nullptr) {
    current_team = nullptr;  // a loop inside this one is serial
    team->Run(count, body);
    current_team = team;
    return;
  }
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t i = 0; i < count; ++i) body(i);
}

void WithTeam(const std::function<void()>& body) {
  if (Threads() == 1 || omp_in_parallel()) return body();
  std::optional<Team> team;
#pragma omp parallel shared(team)
  {
    // The system may give fewer threads than were asked for.
#pragma omp single
    team.emplace(omp_get_num_threads() - 1);
    if (omp_get_thread_num() == 0) {
      current_team = &*team;
      body();
      current_team = nullptr;
      team->End();
    } else {
      team->Serve(omp_get_thread_num());
    }
  }
}

int TeamThreads() {
  return current_team == nullptr ? 1 : current_team->threads();
}

void TeamReadsAhead(const ListStretches& list) {
  if (current_team != nullptr) current_team->Fetch(list);
}

}  // namespace align
