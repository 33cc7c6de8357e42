#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "align/base/files.h"
#include "align/base/thread_share.h"
#include "align/base/threads.h"
#include "align/cli/bench.h"
#include "align/cli/command.h"
#include "align/cli/export.h"
#include "align/cli/inspect.h"
#include "align/cli/model_commands.h"
#include "align/cli/profiled.h"
#include "align/cli/tokenize.h"
#include "align/config/compare_job.h"
#include "align/config/compare_needs.h"
#include "align/config/compare_plan.h"
#include "align/config/parse.h"
#include "align/config/train_job.h"
#include "align/data/import.h"
#include "align/dnnl/precision.h"
#include "proto/config.pb.h"

namespace align::cli {
namespace {

void PrintLine(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

absl::StatusOr<std::string> RequiredFlag(const Arguments& arguments,
                                         const std::string& flag,
                                         const std::string& usage) {
  if (arguments.Has(flag)) return arguments.Get(flag, "");
  return InvalidArgument("--" + flag + " is missing. Usage: " + usage);
}

constexpr char kImportUsage[] =
    "align import INPUT... --out FILE.tfrecord [--strict]";
absl::Status ImportCommand(const Arguments& arguments) {
  if (arguments.positional.empty()) {
    return InvalidArgument(std::string("no input. Usage: ") + kImportUsage);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string out,
                         RequiredFlag(arguments, "out", kImportUsage));
  ALIGN_ASSIGN_OR_RETURN(
      const ImportResult result,
      Import(arguments.positional, out, {.strict = arguments.Has("strict")}));
  std::fputs(RenderImportReport(result).c_str(), stdout);
  return absl::OkStatus();
}

constexpr char kTrainUsage[] =
    "align train CONFIG --out DIR [--dry-run] [--profile] [--trace FILE] "
    "[key.path=value ...]";
absl::Status TrainCommand(const Arguments& arguments) {
  ALIGN_RETURN_IF_ERROR(ExpectPositional(arguments, 1, kTrainUsage));
  pb::TrainConfig config;
  ALIGN_RETURN_IF_ERROR(
      LoadConfig(arguments.positional[0], arguments.overrides, config));
  if (arguments.Has("dtype")) {
    config.set_weight_format(arguments.Get("dtype", ""));
  }
  if (arguments.Has("precompute-reference")) {
    config.set_precompute_reference(true);
  }
  if (arguments.Has("recompute-activations")) {
    config.set_recompute_activations(true);
  }
  if (arguments.Has("dry-run")) {
    ALIGN_RETURN_IF_ERROR(ResolveTrainConfig(config));
    ALIGN_ASSIGN_OR_RETURN(const std::string needs, DescribeTrainJob(config));
    std::printf("%s\n%s", ConfigText(config).c_str(), needs.c_str());
    return absl::OkStatus();
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string out,
                         RequiredFlag(arguments, "out", kTrainUsage));
  ALIGN_ASSIGN_OR_RETURN(
      const Precision precision,
      ParsePrecision(config.has_precision() ? config.precision() : "f32"));
  ALIGN_RETURN_IF_ERROR(RunProfiled(arguments, precision, [&] {
    return RunTrainJob(config, out, StopRequested);
  }));
  PrintLine("model: " + out + "/model");
  return absl::OkStatus();
}

// The environment of a stage. Loops of small models follow each other within
// microseconds, and to wake a thread takes tens of them: threads look for work
// that long before they sleep, and not so long that another stage would wait.
std::vector<std::string> StageEnvironment() {
  std::vector<std::string> variables;
  bool set = false;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables.emplace_back(*variable);
    set = set || variables.back().starts_with("GOMP_SPINCOUNT=");
  }
  if (!set) variables.push_back("GOMP_SPINCOUNT=20000");
  return variables;
}

// As exec takes them.
std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Runs `align compare` again for one stage in a process of its own, with its
// part of the job's threads.
absl::Status RunStageProcess(const Arguments& arguments, const std::string& out,
                             const std::string& stage, ThreadShare& share) {
  std::vector<std::string> words = {"align", "compare", arguments.positional[0],
                                    "--out", out,       "--stage",
                                    stage};
  words.insert(words.end(), {"--share", std::to_string(share.descriptor())});
  if (arguments.Has("profile")) words.push_back("--profile");
  words.insert(words.end(), arguments.overrides.begin(),
               arguments.overrides.end());
  std::vector<std::string> variables = StageEnvironment();
  const std::vector<char*> argv = Pointers(words), env = Pointers(variables);
  share.Enter();
  const pid_t child = ::fork();
  if (child == 0) {
    ::execve("/proc/self/exe", argv.data(), env.data());
    ::_exit(127);
  }
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  share.Leave();
  if (child < 0) {
    return Internal(std::string("cannot fork: ") + std::strerror(errno));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  if (StopRequested()) return Cancelled("stopped in stage " + stage);
  return FailedPrecondition(
      "stage " + stage +
      (WIFSIGNALED(status)
           ? " was ended by signal " + std::to_string(WTERMSIG(status))
           : " failed; its message is above"));
}

// One stage of the config, in this process.
absl::Status RunStage(const Arguments& arguments,
                      const pb::CompareConfig& config, const std::string& out) {
  std::optional<ThreadShare> share;
  if (arguments.Has("share")) {
    ALIGN_ASSIGN_OR_RETURN(
        const int64_t descriptor,
        arguments.GetInteger("share", 0, 0, std::numeric_limits<int>::max()));
    absl::StatusOr<ThreadShare> opened = ThreadShare::Open(descriptor);
    if (!opened.ok()) return Annotate(opened.status(), "--share");
    share.emplace(*std::move(opened));
  }
  // Asked between steps, when the number of threads may change.
  const auto stop = [&share] {
    if (share) SetThreads(share->Part());
    return StopRequested();
  };
  stop();
  ALIGN_ASSIGN_OR_RETURN(const Precision precision, ComparePrecision(config));
  return RunProfiled(arguments, precision, [&] {
    return RunCompareStageByName(config, out, arguments.Get("stage", ""), stop);
  });
}

constexpr char kCompareUsage[] =
    "align compare CONFIG --out DIR [--dry-run] [--profile] "
    "[key.path=value ...]";
absl::Status CompareCommand(const Arguments& arguments) {
  ALIGN_RETURN_IF_ERROR(ExpectPositional(arguments, 1, kCompareUsage));
  pb::CompareConfig config;
  ALIGN_RETURN_IF_ERROR(
      LoadConfig(arguments.positional[0], arguments.overrides, config));
  if (arguments.Has("dry-run")) {
    ALIGN_ASSIGN_OR_RETURN(const std::string needs, DescribeCompareJob(config));
    std::printf("%s\n%s", ConfigText(config).c_str(), needs.c_str());
    return absl::OkStatus();
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string out,
                         RequiredFlag(arguments, "out", kCompareUsage));
  if (arguments.Has("stage")) return RunStage(arguments, config, out);
  ALIGN_ASSIGN_OR_RETURN(const int64_t jobs,
                         arguments.GetInteger("jobs", 1, 1, 64));
  ALIGN_ASSIGN_OR_RETURN(ThreadShare share, ThreadShare::Create(Threads()));
  return RunCompare(config, out,
                    {.jobs = jobs,
                     .run_stage =
                         [&](const std::string& stage) {
                           return RunStageProcess(arguments, out, stage, share);
                         },
                     .print = PrintLine,
                     .stop = StopRequested});
}

const Flag kOut = {"out", "DIR", "where results go"};
const Flag kBase = {"base", "DIR", "the base of a PEFT directory"};
const Flag kProfile = {"profile", "", "print at the end where the time went"};
const Flag kDryRun = {"dry-run", "",
                      "print the resolved config and memory need, and stop"};

}  // namespace

const std::vector<Command>& Commands() {
  static const auto* const commands = new std::vector<Command>{
      {"import",
       kImportUsage,
       "Turns JSON lines into a record file.",
       {{"out", "FILE", "the record file"},
        {"strict", "", "stop at the first row that is not taken"}},
       ImportCommand},
      {"train",
       kTrainUsage,
       "Trains by the config's method, and continues a stopped run.",
       {kOut,
        kDryRun,
        kProfile,
        {"trace", "FILE", "write where it went for Chrome or Perfetto"},
        {"dtype", "NAME", "of the model written: f32, f16 or bf16 (f32)"},
        {"precompute-reference", "",
         "score the reference once, before training, and let go of it"},
        {"recompute-activations", "",
         "compute blocks again on the way back: less memory, more time"}},
       TrainCommand,
       true},
      {"sample",
       kSampleUsage,
       "Samples replies to prompts.",
       {{"prompt", "TEXT", "one prompt"},
        {"chat", "", "the prompt is a user's message in a conversation"},
        {"system", "TEXT", "the system's message before it, with --chat"},
        {"chat-template", "NAME", "built-in or file, not the model's own"},
        {"prompts", "FILE", "a record file of prompts"},
        {"samples", "N", "replies to each (1)"},
        {"max-new-tokens", "N", "length of a reply (64)"},
        {"temperature", "X", "0 takes the likeliest token (1)"},
        {"top-k", "N", "0: all tokens (0)"},
        {"top-p", "X", "probability kept (1)"},
        {"min-p", "X", "least probability, of the largest one's (0)"},
        {"typical-p", "X", "probability kept, typical tokens first (1)"},
        {"epsilon-cutoff", "X", "least probability (0)"},
        {"repetition-penalty", "X", "above 1: seen tokens come less (1)"},
        {"no-repeat-ngram-size", "N", "no N tokens come twice (0: off)"},
        {"cache-mode", "MODE", "exact | absorbed: DeepSeek's, smaller (exact)"},
        {"seed", "N", "of the random streams (0)"},
        kBase},
       SampleCommand},
      {"eval",
       kEvalUsage,
       "Measures a model on a record file.",
       {{"each", "", "print the reward of every text too"},
        {"max-records", "N", "use only the first N records"},
        {"max-length", "N", "tokens of an example (256)"},
        kBase},
       EvalCommand},
      {"show",
       kShowUsage,
       "Shows what a model is and the memory it takes.",
       {{"batch", "N", "sequences in a step (1)"},
        {"length", "N", "tokens of each (512, or the model's positions)"},
        {"rank", "N", "of LoRA (8)"},
        {"target", "NAMES",
         "layers with adapters, commas between (all-linear)"},
        {"dora", "", "DoRA instead"},
        kBase},
       ShowCommand},
      {"merge",
       kMergeUsage,
       "Puts the adapters of a PEFT directory into its base.",
       {kOut, kBase, {"format", "f32|bf16", "of the weights (f32)"}},
       MergeCommand},
      {"compare",
       kCompareUsage,
       "Runs SFT, best-of-n, DPO, RSO and PPO side by side.",
       {kOut,
        kDryRun,
        {"jobs", "N",
         "stages side by side; those that run share the threads (1)"},
        kProfile,
        {"stage", "NAME", "run only this stage, here"},
        {"share", "FD", "threads that the parent process shares, for a stage"}},
       CompareCommand,
       true},
      {"bench", kBenchUsage,
       "Measures what DPO and PPO cost, an update and to a gold reward.",
       BenchFlags(), BenchCommand},
      {"show-batch",
       kShowBatchUsage,
       "Shows what a training batch scores, token by token.",
       {{"batch-size", "N", "examples in the batch (2)"}},
       ShowBatchCommand},
      {"tokenize",
       kTokenizeUsage,
       "Shows the tokens of a text, or the text of tokens.",
       {{"file", "FILE", "the text to encode"},
        {"decode", "IDS", "ids to decode, as \"1 2 3\""},
        {"conversations", "FILE", "JSON lines {\"messages\": [...], ...}"},
        {"chat-template", "NAME", "built-in or file, not the model's own"},
        {"replies", "WHICH", "to mark: all, last or none (all)"},
        {"rendered", "", "print conversations as text, in JSON"},
        {"ids", "", "print the ids alone, on one line"},
        {"count", "", "print how many tokens, characters and bytes"},
        {"markup", "", "names of special tokens stand for these tokens"},
        {"template", "", "with what the tokenizer puts around a text"}},
       TokenizeCommand},
      {"export",
       kExportUsage,
       "Writes a model for llama.cpp, or in another dtype.",
       {{"out", "PATH", "the .gguf file, or the directory of safetensors"},
        {"format", "NAME", "gguf or safetensors (gguf)"},
        {"dtype", "NAME", "f32, f16, bf16, and q8_0 for gguf (f16)"}},
       ExportCommand},
      {"list",
       kListUsage,
       "Lists losses and advantages, or one with its options; or models.",
       {{"markdown", "", "as a Markdown table"}},
       ListCommand}};
  return *commands;
}

}  // namespace align::cli
