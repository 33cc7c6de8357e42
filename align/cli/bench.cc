#include "align/cli/bench.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "align/base/files.h"
#include "align/config/bench_job.h"

namespace align::cli {
namespace {

constexpr int64_t kMaxSeeds = 100;

std::string FlagName(std::string option) {
  std::ranges::replace(option, '_', '-');
  return option;
}

absl::StatusOr<bench::Settings> ReadSettings(const Arguments& arguments) {
  if (arguments.positional.empty() || arguments.positional.size() > 2) {
    return InvalidArgument("expected a model and records, got " +
                           std::to_string(arguments.positional.size()) +
                           " argument(s). Usage: " + kBenchUsage);
  }
  bench::Settings settings;
  losses::OptionList numbers;
  settings.Describe(numbers);
  for (const losses::Option& number : numbers.options()) {
    const std::string flag = FlagName(number.name);
    const std::string text = arguments.Get(flag, number.default_text);
    if (!number.set(text)) {
      return InvalidArgument("--" + flag + " " + text + ": expected " +
                             number.allowed);
    }
  }
  settings.model = arguments.positional[0];
  if (arguments.positional.size() == 2) settings.data = arguments.positional[1];
  settings.gold = arguments.Get("gold", "");
  settings.stop = StopRequested;
  settings.work = (std::filesystem::temp_directory_path() /
                   ("align_bench_" + std::to_string(::getpid())))
                      .string();
  return settings;
}

void PrintProgress(const std::string& line) {
  std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace

std::vector<Flag> BenchFlags() {
  std::vector<Flag> flags = {
      {"gold", "REWARD",
       "a lexicon (.txt), a reward model directory, or even: the share of even "
       "token ids; of pairs (a reward model trained on half of them)"},
      {"seeds", "N", "runs, each with the next seed; prints the spread (1)"},
      {"json", "FILE", "writes the table there too"}};
  bench::Settings settings;
  losses::OptionList numbers;
  settings.Describe(numbers);
  for (const losses::Option& number : numbers.options()) {
    flags.push_back({FlagName(number.name), "X",
                     number.doc + " (" + number.default_text + ")"});
  }
  return flags;
}

absl::Status BenchCommand(const Arguments& arguments) {
  ALIGN_ASSIGN_OR_RETURN(const bench::Settings settings,
                         ReadSettings(arguments));
  ALIGN_ASSIGN_OR_RETURN(const int64_t seeds,
                         arguments.GetInteger("seeds", 1, 1, kMaxSeeds));
  // Opened before the work: a path that cannot be written is known now.
  std::optional<AtomicFile> json;
  if (arguments.Has("json")) {
    ALIGN_ASSIGN_OR_RETURN(json, AtomicFile::Create(arguments.Get("json", "")));
  }
  ALIGN_ASSIGN_OR_RETURN(const std::vector<bench::SeedCosts> costs,
                         bench::RunBench(settings, seeds, PrintProgress));
  std::fputs(bench::RenderBench(costs).c_str(), stdout);
  if (!json) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(const std::string text, bench::BenchJson(costs));
  ALIGN_RETURN_IF_ERROR(json->Write(text + "\n"));
  return json->Commit();
}

}  // namespace align::cli
