#include "align/config/run_events.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>

#include "align/report/event_observer.h"

namespace align {
namespace {

int64_t NanosecondsSince1970() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

double SecondsSince1970() {
  return static_cast<double>(NanosecondsSince1970()) * 1e-9;
}

// The host's name with '-' for what a file's name should not have.
std::string HostName() {
  char buffer[128] = {};
  if (::gethostname(buffer, sizeof buffer - 1) != 0) return "localhost";
  std::string name = buffer;
  std::ranges::replace_if(
      name,
      [](unsigned char c) { return !std::isalnum(c) && c != '.' && c != '_'; },
      '-');
  return name.empty() ? "localhost" : name;
}

}  // namespace

absl::StatusOr<train::Observer> RunEvents(const std::string& directory) {
  // Runs of one process and second differ in the nanosecond.
  const int64_t now = NanosecondsSince1970();
  return EventFileObserver(directory,
                           {.wall_time = static_cast<double>(now) * 1e-9,
                            .host = HostName(),
                            .process_id = ::getpid(),
                            .sequence = now % 1000000000},
                           SecondsSince1970);
}

}  // namespace align
