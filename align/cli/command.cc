#include "align/cli/command.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>

#include "align/base/threads.h"
#include "align/config/parse.h"
#include "align/dnnl/matmul.h"
#include "losses/registry.h"

namespace align::cli {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

// The first Ctrl-C asks the job to stop in order, the second ends it.
void OnInterrupt(int signal) {
  stop_requested = 1;
  std::signal(signal, SIG_DFL);
}

const Flag kCommonFlags[] = {
    {"threads", "N", "threads to use; results do not depend on it"},
    {"help", "", "this text"}};

std::vector<Flag> AllFlags(const Command& command) {
  std::vector<Flag> flags = command.flags;
  flags.insert(flags.end(), std::begin(kCommonFlags), std::end(kCommonFlags));
  return flags;
}

int ExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnimplemented:
      return 2;
    case absl::StatusCode::kCancelled:
      return 130;
    default:
      return 1;
  }
}

absl::Status RunCommand(const Command& command,
                        const std::vector<std::string>& words) {
  ALIGN_ASSIGN_OR_RETURN(const Arguments arguments,
                         ParseArguments(command, words));
  if (arguments.Has("help")) {
    std::fputs(CommandHelp(command).c_str(), stdout);
    return absl::OkStatus();
  }
  if (arguments.Has("threads")) {
    ALIGN_ASSIGN_OR_RETURN(const int64_t threads,
                           arguments.GetInteger("threads", 1, 1, 1024));
    SetThreads(static_cast<int>(threads));
  }
  return command.run(arguments);
}

}  // namespace

bool StopRequested() { return stop_requested != 0; }

std::string Arguments::Get(const std::string& flag,
                           const std::string& otherwise) const {
  const auto found = flags.find(flag);
  return found == flags.end() ? otherwise : found->second;
}

absl::StatusOr<int64_t> Arguments::GetInteger(const std::string& flag,
                                              int64_t otherwise, int64_t low,
                                              int64_t high) const {
  const auto found = flags.find(flag);
  if (found == flags.end()) return otherwise;
  const std::string& text = found->second;
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low ||
      value > high) {
    return InvalidArgument("--" + flag + " " + text + ": expected " +
                           std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

absl::Status ExpectPositional(const Arguments& arguments, size_t count,
                              const std::string& usage) {
  if (arguments.positional.size() == count) return absl::OkStatus();
  return InvalidArgument(
      "expected " + std::to_string(count) + " argument(s), got " +
      std::to_string(arguments.positional.size()) + ". Usage: " + usage);
}

absl::StatusOr<Arguments> ParseArguments(
    const Command& command, const std::vector<std::string>& words) {
  const std::vector<Flag> flags = AllFlags(command);
  Arguments arguments;
  bool only_positional = false;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string word = words[i];
    if (word == "-h") word = "--help";
    if (only_positional || !word.starts_with('-') || word == "-") {
      (command.overrides && IsOverride(word) ? arguments.overrides
                                             : arguments.positional)
          .push_back(word);
      continue;
    }
    if (word == "--") {
      only_positional = true;
      continue;
    }
    const size_t equals = word.find('=');
    const std::string dashed = word.substr(0, equals);
    const auto flag = std::ranges::find_if(
        flags, [&](const Flag& f) { return "--" + f.name == dashed; });
    if (flag == flags.end()) {
      std::vector<std::string> known;
      for (const Flag& f : flags) known.push_back("--" + f.name);
      return InvalidArgument("align " + command.name + ": " +
                             losses::UnknownName("flag", dashed, known));
    }
    const bool attached = equals != std::string::npos;
    if (flag->value.empty() ? attached : !attached && i + 1 == words.size()) {
      return InvalidArgument(
          "align " + command.name + ": " + dashed +
          (attached ? " takes no value" : " needs a value: " + flag->value));
    }
    arguments.flags[flag->name] = flag->value.empty() ? ""
                                  : attached          ? word.substr(equals + 1)
                                                      : words[++i];
  }
  return arguments;
}

std::string ProgramHelp() {
  std::string text =
      "Aligns language models to preferences.\n\n"
      "Usage: align COMMAND [arguments]\n\nCommands:\n";
  for (const Command& command : Commands()) {
    text += "  " + command.name +
            std::string(12 - std::min<size_t>(11, command.name.size()), ' ') +
            command.summary + "\n";
  }
  return text +
         "\n`align COMMAND --help` shows a command's arguments, "
         "`align --version` the version.\n";
}

std::string CommandHelp(const Command& command) {
  std::string text =
      "Usage: " + command.usage + "\n\n" + command.summary + "\n\nFlags:\n";
  for (const Flag& flag : AllFlags(command)) {
    std::string left =
        "  --" + flag.name + (flag.value.empty() ? "" : " " + flag.value);
    left.resize(std::max<size_t>(left.size() + 2, 26), ' ');
    text += left + flag.doc + "\n";
  }
  return text;
}

int RunProgram(const std::vector<std::string>& words) {
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);
  const std::string first = words.empty() ? "" : words[0];
  if (first == "--version") {
    std::printf("align %s, %s\n", ALIGN_VERSION, DescribeMatmul().c_str());
    return 0;
  }
  const bool help = first == "--help" || first == "-h" || first == "help";
  if (words.empty() || (help && words.size() == 1)) {
    std::fputs(ProgramHelp().c_str(), words.empty() ? stderr : stdout);
    return words.empty() ? 2 : 0;
  }
  // `align help COMMAND` is `align COMMAND --help`.
  const std::string name = help ? words[1] : first;
  const std::vector<Command>& commands = Commands();
  const auto command = std::ranges::find(commands, name, &Command::name);
  absl::Status status;
  if (command == commands.end()) {
    std::vector<std::string> known;
    for (const Command& c : commands) known.push_back(c.name);
    status = InvalidArgument("align: " +
                             losses::UnknownName("command", name, known));
  } else if (help) {
    std::fputs(CommandHelp(*command).c_str(), stdout);
  } else {
    status = RunCommand(*command, {words.begin() + 1, words.end()});
  }
  if (!status.ok()) std::fprintf(stderr, "%s\n", Message(status).c_str());
  return ExitCode(status);
}

}  // namespace align::cli
