// dpo_vs_ppo NAME [flags]: `align bench` on a model with new weights, tiny or
// small, without data: costs depend on shapes and not on what weights are.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "align/cli/command.h"
#include "align/config/own_process.h"
#include "bench/bench_model.h"

namespace align::bench {
namespace {

int Main(std::vector<std::string> words) {
  if (words.empty() || (words[0] != "tiny" && words[0] != "small")) {
    std::fputs("usage: dpo_vs_ppo tiny|small [flags of align bench]\n", stderr);
    return 2;
  }
  const std::string name = words[0];
  const std::string directory = (std::filesystem::temp_directory_path() /
                                 ("dpo_vs_ppo_" + std::to_string(getpid())))
                                    .string();
  const absl::Status saved =
      RunInOwnProcess([&]() -> absl::StatusOr<std::string> {
        ALIGN_ASSIGN_OR_RETURN(const auto model, BenchModel(name));
        ALIGN_RETURN_IF_ERROR(SaveModel(*model, directory, ""));
        return std::string();
      }).status();
  if (!saved.ok()) {
    std::fprintf(stderr, "dpo_vs_ppo: %s\n", Message(saved).c_str());
    return 1;
  }
  words[0] = directory;
  words.insert(words.begin(), {"bench", "--gold", "even"});
  const int code = cli::RunProgram(words);
  std::filesystem::remove_all(directory);
  return code;
}

}  // namespace
}  // namespace align::bench

int main(int argc, char** argv) {
  return align::bench::Main({argv + 1, argv + std::max(argc, 1)});
}
