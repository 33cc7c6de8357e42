#pragma once

#include <map>
#include <string>
#include <vector>

#include "align/base/status.h"

namespace align::cli {

// One flag that a command takes: --name VALUE, or --name alone.
struct Flag {
  std::string name;
  std::string value;  // what VALUE is, "FILE"; empty: takes none
  std::string doc;
};

// The arguments of one call, parsed by a command's flags.
struct Arguments {
  std::vector<std::string> positional;  // neither flags nor overrides
  std::vector<std::string> overrides;   // key.path=value
  std::map<std::string, std::string> flags;

  bool Has(const std::string& flag) const { return flags.contains(flag); }
  // The flag's value, or `otherwise`.
  std::string Get(const std::string& flag, const std::string& otherwise) const;
  // kInvalidArgument when the value is no whole number in [low, high].
  absl::StatusOr<int64_t> GetInteger(const std::string& flag, int64_t otherwise,
                                     int64_t low, int64_t high) const;
};

struct Command {
  std::string name;
  std::string usage;    // "align train CONFIG --out DIR [key.path=value ...]"
  std::string summary;  // one line
  std::vector<Flag> flags;
  absl::Status (*run)(const Arguments&);
  bool overrides = false;  // takes key.path=value arguments
};

// Every command, in the order of `align --help`.
const std::vector<Command>& Commands();

// Splits `words` (after the command's name) by the command's flags. "--" ends
// flags; "-" alone is an argument. kInvalidArgument for an unknown flag, with
// near misses, or a flag without its value.
absl::StatusOr<Arguments> ParseArguments(const Command& command,
                                         const std::vector<std::string>& words);

// kInvalidArgument, with the usage, unless there are `count` positional ones.
absl::Status ExpectPositional(const Arguments& arguments, size_t count,
                              const std::string& usage);

// The help text of the program or of one command.
std::string ProgramHelp();
std::string CommandHelp(const Command& command);

// Runs the program: 0, 1 for a job that failed, 2 for bad input, 130 when
// stopped by Ctrl-C. Results go to stdout, everything else to stderr.
int RunProgram(const std::vector<std::string>& words);

// Whether Ctrl-C was pressed since the program began.
bool StopRequested();

}  // namespace align::cli
