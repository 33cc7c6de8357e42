// align_oracle [--filter TEXT] PATH: checks the toolkit against numbers that
// other software computed. PATH is a folder of oracle files, any of its folders
// or one file. The exit code is 1 if a case failed, 2 for a wrong call.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

namespace fs = std::filesystem;

struct Family {
  std::string folder;  // of the file, or the folder above it
  std::string name;    // how the file's name starts
  void (*check)(const OracleFile&, Reporter&);
};

const std::vector<Family>& Families() {
  static const std::vector<Family> families = {
      {"models", "golden.json", CheckModel},
      {"models", "cross_check_", CheckVersions},
      {"models", "sensitivity.json", CheckSensitivity},
      {"runs", "run.json", CheckRun},
      {"generate", "logits_processors", CheckLogitsProcessors},
      {"generate", "", CheckGeneration},
      {"dpo", "dpo_loss_", CheckDpoLoss},
      {"dpo", "dpo_compute_loss_", CheckDpoFromLogits},
      {"peers", "dpo_second_sources", CheckDpoSecondSources},
      {"kto", "kto_loss_", CheckKtoLoss},
      {"kto", "kto_compute_loss_", CheckKtoFromLogits},
      {"bco", "bco_loss_", CheckBcoLoss},
      {"orpo", "orpo_", CheckOrpoLoss},
      {"cpo", "cpo_", CheckCpoLoss},
      {"logps", "get_batch_logps", CheckBatchLogps},
      {"logps", "utils_", CheckLogSoftmax},
      {"reward", "reward_loss_", CheckRewardLoss},
      {"rso", "rso_paper_algorithm1", CheckRejection},
      {"ppo", "core_", CheckPpoCore},
      {"ppo", "ppo_trainer_", CheckPpoTrainer},
      {"ppo", "ppo_inline_", CheckPpoInline},
      {"ppo", "kl_controller_", CheckKlController},
      {"grpo", "grpo_loss_", CheckGrpoLoss},
      {"grpo", "grpo_advantages_", CheckGrpoAdvantages},
      {"rloo", "rloo_", CheckRloo},
      {"peers", "verl_", CheckVerl},
      {"peers", "openrlhf", CheckOpenRlhf},
      {"peers", "torchtune_ppo", CheckTorchtune},
      {"sft", "sft_losses", CheckSftLosses},
      {"optim", "optimizers_", CheckOptimizers},
      {"optim", "clip_grad_norm_", CheckClipping},
      {"optim", "lr_schedules_", CheckSchedules},
      {"tok", "", CheckTokenizer},
  };
  return families;
}

const Family* FindFamily(const fs::path& path) {
  const std::string folder = path.parent_path().filename().string();
  const std::string above = path.parent_path().parent_path().filename();
  const std::string name = path.filename().string();
  for (const Family& family : Families()) {
    const bool in_folder = family.folder == folder || family.folder == above;
    if (in_folder && name.starts_with(family.name)) return &family;
  }
  return nullptr;
}

// How many cases a file without a checker holds.
int64_t CountCases(Json root) {
  const auto cases = root.is_object() ? Find(root, "cases") : std::nullopt;
  if (!cases || !cases->is_array()) return 1;
  return static_cast<int64_t>(Items(*cases).size());
}

void CheckFile(const fs::path& path, const std::string& name,
               Reporter& reporter) {
  reporter.BeginFile(name);
  simdjson::dom::parser parser;
  Json root;
  if (const auto error = parser.load(path.string()).get(root)) {
    reporter.Fail(name, simdjson::error_message(error));
  } else if (const Family* family = FindFamily(path)) {
    try {
      family->check({path.string(), root}, reporter);
    } catch (const simdjson::simdjson_error& error) {
      reporter.Fail(name,
                    std::string("not of the expected shape: ") + error.what());
    }
  } else {
    reporter.Skip("no checker for " + path.parent_path().filename().string() +
                      "/" + path.filename().string(),
                  CountCases(root));
  }
  reporter.EndFile();
}

std::vector<fs::path> ListFiles(const fs::path& root) {
  if (!fs::is_directory(root)) return {root};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const fs::path& path = entry.path();
    const std::string name = path.filename().string();
    // A config.json belongs to the weights beside it, a tokenizer.json to the
    // file in the folder above, and texts.json is what those files encode.
    if (path.extension() == ".json" && name != "config.json" &&
        name != "texts.json" && !name.ends_with("tokenizer.json")) {
      files.push_back(path);
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

int Main(const std::vector<std::string>& arguments) {
  std::string filter, root;
  bool usable = true;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--filter" && i + 1 < arguments.size()) {
      filter = arguments[++i];
    } else if (root.empty() && !arguments[i].starts_with("-")) {
      root = arguments[i];
    } else {
      usable = false;
    }
  }
  if (!usable || root.empty()) {
    std::fprintf(stderr, "usage: align_oracle [--filter TEXT] PATH\n");
    return 2;
  }
  if (!fs::exists(root)) {
    std::fprintf(stderr, "align_oracle: %s does not exist\n", root.c_str());
    return 2;
  }
  const fs::path absolute = fs::canonical(root);
  Reporter reporter;
  for (const fs::path& path : ListFiles(absolute)) {
    std::string name = path.lexically_relative(absolute).string();
    if (name == ".") name = path.filename().string();
    if (name.find(filter) != std::string::npos) {
      CheckFile(path, name, reporter);
    }
  }
  return reporter.Finish() ? 0 : 1;
}

}  // namespace
}  // namespace align::oracle

int main(int argc, char** argv) {
  return align::oracle::Main({argv + 1, argv + argc});
}
