#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace align {

// What a machine does at best; 0: not known.
struct MachineRates {
  double flops_per_second = 0;
  double bytes_per_second = 0;
};

// Where the time of a run goes. While a ProfileRun lives, the ProfileScopes of
// its thread add to it; without one a scope costs one test. Times are of the
// thread that measures, work of all threads below it included, and exclusive:
// what an inner scope takes is not the outer one's.
class Profile {
 public:
  // One kind of work: what part of a step ("attention"), which operation
  // ("Linear") and whether it was a backward rule.
  struct Key {
    std::string phase, op;
    bool backward = false;
    auto operator<=>(const Key&) const = default;
  };
  struct Entry {
    int64_t calls = 0;
    double seconds = 0;
    double flops = 0;  // a multiply-add counts as two
    double bytes = 0;  // read and written once, where the op says so
  };
  const std::map<Key, Entry>& entries() const { return entries_; }
  double seconds() const;  // of all entries

  // A line per phase and direction, then one per entry, the longest first:
  // calls, milliseconds, share of the whole, work and its rates. Where `best`
  // is known the last column says how much of the line's time its work takes at
  // those rates, an entry's that of its operations or of its bytes, whichever
  // is longer. More than 100 %: the data was in a cache.
  std::string Table(const MachineRates& best = {}) const;

  // With `keep_events` scopes are kept too, the first half million of them, for
  // a trace in Chrome's JSON format (chrome://tracing, Perfetto), which says
  // how many it lacks.
  explicit Profile(bool keep_events = false) : keep_events_(keep_events) {}
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  std::string ChromeTrace() const;

 private:
  friend class ProfileScope;
  friend class ProfileThreads;
  struct Event {
    const Key* key;  // of entries_
    double start_us, duration_us;
  };
  std::map<Key, Entry> entries_;
  bool keep_events_;
  std::vector<Event> events_;
  int64_t events_left_out_ = 0;
};

// Makes the scopes of this thread add to `profile`, which must outlive it.
class ProfileRun {
 public:
  explicit ProfileRun(Profile& profile);
  ~ProfileRun();
  ProfileRun(const ProfileRun&) = delete;
  ProfileRun& operator=(const ProfileRun&) = delete;

 private:
  Profile* before_;
};

// What this thread does until the scope ends. Names must outlive the profile:
// they are literals.
class ProfileScope {
 public:
  // An operation, or a part of one, in the phase and direction of the scope
  // around it.
  explicit ProfileScope(std::string_view op, double flops = 0,
                        double bytes = 0);
  // A phase: operations inside belong to it.
  static ProfileScope Phase(std::string_view phase);
  // A phase that phases inside do not change: what samples, or scores for a
  // reference, is one part of a step however many layers it passes.
  static ProfileScope Stage(std::string_view phase);
  // The backward rule of an operation, in the phase that recorded it.
  static ProfileScope Backward(std::string_view phase, std::string_view op);
  ~ProfileScope();
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

  // Adds work to the innermost scope of this thread.
  static void AddWork(double flops, double bytes);
  // The same for `count` floats that are read or written.
  static void AddFloats(int64_t count);
  // The phase that this thread is in; empty outside.
  static std::string_view CurrentPhase();

 private:
  using Clock = std::chrono::steady_clock;
  friend class ProfileThreads;
  ProfileScope(std::string_view phase, std::string_view op, bool backward,
               bool stage = false);

  Profile* profile_ = nullptr;  // null: not measured
  ProfileScope* outer_ = nullptr;
  std::string_view phase_, op_;
  bool backward_ = false;
  bool stage_ = false;
  Clock::time_point start_;
  double inner_seconds_ = 0;
  double flops_ = 0, bytes_ = 0;
};

// Counts what other threads do below the innermost scope of the thread that
// makes it: operations and bytes. Their time is that scope's, which waits.
class ProfileThreads {
 public:
  ProfileThreads();
  ~ProfileThreads();  // when no Run is left, on the thread that made it
  ProfileThreads(const ProfileThreads&) = delete;
  ProfileThreads& operator=(const ProfileThreads&) = delete;

  // Calls body(), on any thread.
  void Run(const std::function<void()>& body);

 private:
  Profile* profile_;
  std::string_view phase_;
  bool stage_;
  std::mutex mutex_;
  std::map<Profile::Key, Profile::Entry> work_;
};

}  // namespace align
