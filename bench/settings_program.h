#pragma once

#include <functional>

#include "align/base/status.h"
#include "align/cli/command.h"
#include "losses/options.h"

namespace align::bench {

// The main of a bench whose numbers are flags of their names: adds them and
// --threads to `command`, sets them, and runs `measure`. Returns the exit code;
// an error is one line on stderr and code 2.
int RunSettingsProgram(
    int argc, char** argv, cli::Command command,
    const losses::OptionList& numbers,
    const std::function<absl::Status(const cli::Arguments&)>& measure);

}  // namespace align::bench
