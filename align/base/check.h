#pragma once

// ALIGN_CHECK(condition) << "message" aborts when code misused code. Input is
// never checked with it: input that is at fault returns absl::Status.

#include <sstream>

namespace align {

// Collects a message and aborts in its destructor.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Gives both branches of ALIGN_CHECK the type void.
struct CheckVoidify {
  void operator&(std::ostream&) const {}
};

}  // namespace align

#define ALIGN_CHECK(condition)    \
  (condition)                     \
      ? (void)0                   \
      : ::align::CheckVoidify() & \
            ::align::CheckFailure(__FILE__, __LINE__, #condition).stream()
