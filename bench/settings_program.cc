#include "bench/settings_program.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "align/base/threads.h"

namespace align::bench {
namespace {

absl::Status SetNumbers(const losses::OptionList& numbers,
                        const cli::Arguments& arguments) {
  for (const losses::Option& number : numbers.options()) {
    if (!arguments.Has(number.name)) continue;
    const std::string text = arguments.Get(number.name, "");
    if (!number.set(text)) {
      return InvalidArgument("--" + number.name + " " + text + ": expected " +
                             number.allowed);
    }
  }
  return absl::OkStatus();
}

}  // namespace

int RunSettingsProgram(
    int argc, char** argv, cli::Command command,
    const losses::OptionList& numbers,
    const std::function<absl::Status(const cli::Arguments&)>& measure) {
  for (const losses::Option& number : numbers.options()) {
    command.flags.push_back(
        {number.name, "X", number.doc + " (" + number.default_text + ")"});
  }
  const auto run = [&]() -> absl::Status {
    ALIGN_ASSIGN_OR_RETURN(
        const cli::Arguments arguments,
        cli::ParseArguments(command, {argv + 1, argv + std::max(argc, 1)}));
    if (arguments.Has("help")) {
      std::fputs(cli::CommandHelp(command).c_str(), stdout);
      return absl::OkStatus();
    }
    ALIGN_RETURN_IF_ERROR(SetNumbers(numbers, arguments));
    ALIGN_ASSIGN_OR_RETURN(const int64_t threads,
                           arguments.GetInteger("threads", Threads(), 1, 1024));
    SetThreads(static_cast<int>(threads));
    return measure(arguments);
  };
  const absl::Status status = run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", command.name.c_str(),
               Message(status).c_str());
  return 2;
}

}  // namespace align::bench
