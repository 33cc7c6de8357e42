#pragma once

// Runs a program to its end and keeps what it said.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "align/base/check.h"
#include "align/base/files.h"

namespace align {

struct ProcessResult {
  int exit_code = -1;  // 128 + the signal that ended it
  std::string out;
  std::string err;
};

// `words[0]` is the program's path. Output passes through files below
// `directory`, which must exist.
inline ProcessResult RunProcess(std::vector<std::string> words,
                                const std::string& directory) {
  const std::string out = directory + "/stdout", err = directory + "/stderr";
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  ALIGN_CHECK(child >= 0) << "fork";
  if (child == 0) {
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(::open(out.c_str(), flags, 0600), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), flags, 0600), STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return {.exit_code =
              WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .out = *ReadFile(out),
          .err = *ReadFile(err)};
}

}  // namespace align
