#include "align/config/own_process.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

namespace align::bench {
namespace {

// In the child: the status' code as one byte, then bytes or message.
[[noreturn]] void Answer(int pipe, const absl::StatusOr<std::string>& result) {
  std::string answer(1, static_cast<char>(result.status().code()));
  answer += result.ok() ? *result : Message(result.status());
  for (std::string_view rest = answer; !rest.empty();) {
    const ssize_t written = write(pipe, rest.data(), rest.size());
    if (written <= 0) _exit(1);
    rest.remove_prefix(static_cast<size_t>(written));
  }
  std::fflush(nullptr);
  // Not exit(): what the parent registered to run at its end is not ours.
  _exit(0);
}

std::string ReadAll(int pipe) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(pipe, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(n));
  }
  return text;
}

}  // namespace

absl::StatusOr<ProcessResult> RunInOwnProcess(
    const std::function<absl::StatusOr<std::string>()>& work) {
  int ends[2];
  if (pipe(ends) != 0) return Internal(std::string("pipe: ") + strerror(errno));
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return Internal(std::string("fork: ") + strerror(errno));
  if (child == 0) {
    close(ends[0]);
    Answer(ends[1], work());
  }
  close(ends[1]);
  std::string answer = ReadAll(ends[0]);
  close(ends[0]);
  rusage usage{};
  int status = 0;
  if (wait4(child, &status, 0, &usage) != child || !WIFEXITED(status) ||
      WEXITSTATUS(status) != 0 || answer.empty()) {
    return Internal("a stage's process died");
  }
  const auto code = static_cast<absl::StatusCode>(answer[0]);
  answer.erase(0, 1);
  if (code != absl::StatusCode::kOk) return absl::Status(code, answer);
  return ProcessResult{.bytes = std::move(answer),
                       .peak_rss_mb = usage.ru_maxrss / 1024.0};
}

}  // namespace align::bench
