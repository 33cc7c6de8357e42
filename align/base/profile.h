#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace align {

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

  // A line per entry, the longest first: calls, milliseconds, share of the
  // whole, GFLOP/s and GB/s.
  std::string Table() const;

  // With `keep_events` every scope is kept too, for a trace in Chrome's JSON
  // format (chrome://tracing, Perfetto).
  explicit Profile(bool keep_events = false) : keep_events_(keep_events) {}
  std::string ChromeTrace() const;

 private:
  friend class ProfileScope;
  struct Event {
    Key key;
    double start_us, duration_us;
  };
  std::map<Key, Entry> entries_;
  bool keep_events_;
  std::vector<Event> events_;
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
  // The backward rule of an operation, in the phase that recorded it.
  static ProfileScope Backward(std::string_view phase, std::string_view op);
  ~ProfileScope();
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

  // Adds work to the innermost scope of this thread.
  static void AddWork(double flops, double bytes);
  // The phase that this thread is in; empty outside.
  static std::string_view CurrentPhase();

 private:
  using Clock = std::chrono::steady_clock;
  ProfileScope(std::string_view phase, std::string_view op, bool backward);

  Profile* profile_ = nullptr;  // null: not measured
  ProfileScope* outer_ = nullptr;
  std::string_view phase_, op_;
  bool backward_ = false;
  Clock::time_point start_;
  double inner_seconds_ = 0;
  double flops_ = 0, bytes_ = 0;
};

}  // namespace align
