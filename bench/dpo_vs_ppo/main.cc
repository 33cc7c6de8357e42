// dpo_vs_ppo: what an update of DPO and of PPO costs, and what each spends
// until its replies earn a given gold reward, on any model directory. Each
// stage is a process of its own, so that its peak memory is real.

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/base/json_writer.h"
#include "align/base/threads.h"
#include "align/cli/command.h"
#include "bench/bench_model.h"
#include "bench/dpo_vs_ppo/own_process.h"
#include "bench/dpo_vs_ppo/stages.h"

namespace align::bench {
namespace {

// Everything that was measured. `cost` is of a few updates, `goal` of the way
// to the goal; `before` sums the stages that a method cannot do without.
struct MethodCosts {
  std::string name;
  int64_t models_held = 0;
  StageResult cost, goal, before;
};

using Stage = std::function<absl::StatusOr<StageResult>()>;

absl::StatusOr<StageResult> RunStage(const char* title, const Stage& stage) {
  std::fprintf(stderr, "%s ...\n", title);
  ALIGN_ASSIGN_OR_RETURN(
      const ProcessResult process,
      RunInOwnProcess([&]() -> absl::StatusOr<std::string> {
        ALIGN_ASSIGN_OR_RETURN(const StageResult result, stage());
        return std::string(reinterpret_cast<const char*>(&result),
                           sizeof result);
      }));
  StageResult result;
  if (process.bytes.copy(reinterpret_cast<char*>(&result), sizeof result) !=
      sizeof result) {
    return Internal(std::string(title) + ": a result of another size");
  }
  result.peak_rss_mb = process.peak_rss_mb;
  return result;
}

StageResult Sum(const StageResult& a, const StageResult& b) {
  StageResult sum = b;
  sum.seconds += a.seconds;
  sum.tokens_sampled += a.tokens_sampled;
  sum.tokens_trained += a.tokens_trained;
  return sum;
}

struct Row {
  std::string key, title, format;  // key in the JSON
  std::function<double(const MethodCosts&)> value;
};

// The lines of the table and the keys of the JSON. NaN: not reached.
std::vector<Row> Rows() {
  const auto per_update = [](auto field) {
    return [field](const MethodCosts& m) {
      return static_cast<double>(m.cost.*field) /
             static_cast<double>(m.cost.updates);
    };
  };
  const auto to_goal = [](auto value) {
    return [value](const MethodCosts& m) {
      return m.goal.reached ? static_cast<double>(value(m)) : std::nan("");
    };
  };
  return {
      {"models_held", "models held", "%.0f",
       [](const MethodCosts& m) { return static_cast<double>(m.models_held); }},
      {"update_seconds", "an update: seconds", "%.3f",
       per_update(&StageResult::seconds)},
      {"update_tokens_sampled", "  tokens sampled", "%.0f",
       per_update(&StageResult::tokens_sampled)},
      {"update_tokens_trained", "  tokens trained", "%.0f",
       per_update(&StageResult::tokens_trained)},
      {"update_peak_rss_mb", "  peak memory, MB", "%.0f",
       [](const MethodCosts& m) { return m.cost.peak_rss_mb; }},
      {"goal_updates", "to the goal: updates", "%.0f",
       to_goal([](const MethodCosts& m) { return m.goal.updates; })},
      {"goal_seconds_own", "  seconds, own", "%.1f",
       to_goal([](const MethodCosts& m) { return m.goal.seconds; })},
      {"goal_seconds", "  seconds, in all", "%.1f",
       to_goal([](const MethodCosts& m) {
         return m.goal.seconds + m.before.seconds;
       })},
      {"goal_tokens_sampled", "  tokens sampled, in all", "%.0f",
       to_goal([](const MethodCosts& m) {
         return m.goal.tokens_sampled + m.before.tokens_sampled;
       })},
      {"goal_tokens_trained", "  tokens trained, in all", "%.0f",
       to_goal([](const MethodCosts& m) {
         return m.goal.tokens_trained + m.before.tokens_trained;
       })},
      {"gold", "at the end: gold reward", "%.3f",
       [](const MethodCosts& m) { return m.goal.gold; }},
      {"kl", "  KL to the start, nats", "%.2f",
       [](const MethodCosts& m) { return m.goal.kl; }}};
}

void PrintTable(const std::vector<MethodCosts>& methods, double start,
                double goal) {
  std::printf("gold reward: start %.3f, goal %.3f\n\n%-26s", start, goal, "");
  for (const MethodCosts& m : methods) std::printf("%12s", m.name.c_str());
  for (const Row& row : Rows()) {
    std::printf("\n%-26s", row.title.c_str());
    for (const MethodCosts& m : methods) {
      char cell[32] = "not reached";
      const double value = row.value(m);
      if (!std::isnan(value)) {
        std::snprintf(cell, sizeof cell, row.format.c_str(), value);
      }
      std::printf("%12s", cell);
    }
  }
  std::printf(
      "\n\n'in all' counts what comes before: for DPO the pairs, for "
      "PPO these and the\nreward model. Time is without loading models "
      "and looking at gold.\n");
}

absl::Status WriteJson(const std::string& path,
                       const std::vector<MethodCosts>& methods, double start,
                       double goal) {
  JsonWriter json;
  json.BeginArray();
  for (const MethodCosts& m : methods) {
    json.BeginObject();
    json.Field("method", m.name);
    json.Field("gold_start", start);
    json.Field("gold_goal", goal);
    json.Field("reached", m.goal.reached);
    for (const Row& row : Rows()) json.Field(row.key, row.value(m));
    json.EndObject();
  }
  json.EndArray();
  ALIGN_ASSIGN_OR_RETURN(const std::string text, std::move(json).Finish());
  return WriteFileAtomically(path, text + "\n");
}

absl::Status Measure(const Settings& settings, const std::string& json) {
  ALIGN_ASSIGN_OR_RETURN(const StageResult pairs,
                         RunStage("pairs", [&] { return Prepare(settings); }));
  ALIGN_ASSIGN_OR_RETURN(
      const StageResult reward,
      RunStage("reward model", [&] { return TrainReward(settings); }));
  std::vector<MethodCosts> methods(2);
  methods[0] = {.name = "dpo", .models_held = 2, .before = pairs};
  methods[1] = {.name = "ppo", .models_held = 4, .before = Sum(pairs, reward)};
  // Whole rollouts, so that sampling is shared by all of its updates.
  const double rollout = settings.epochs * settings.minibatches;
  const Goal cost = {.max_updates = static_cast<int64_t>(
                         std::ceil(settings.cost_updates / rollout) * rollout),
                     .gold = std::nan("")};
  const Goal goal = {.max_updates = static_cast<int64_t>(settings.max_updates),
                     .gold = pairs.gold + settings.goal};
  for (MethodCosts& method : methods) {
    const auto run = method.name == "dpo" ? RunDpo : RunPpo;
    ALIGN_ASSIGN_OR_RETURN(method.cost,
                           RunStage((method.name + ", cost").c_str(),
                                    [&] { return run(settings, cost); }));
    ALIGN_ASSIGN_OR_RETURN(method.goal,
                           RunStage((method.name + ", to the goal").c_str(),
                                    [&] { return run(settings, goal); }));
  }
  PrintTable(methods, pairs.gold, goal.gold);
  if (json.empty()) return absl::OkStatus();
  return WriteJson(json, methods, pairs.gold, goal.gold);
}

// Leaves a new model where a directory is wanted; errors with the name's.
absl::Status ResolveModel(const std::string& name, Settings& settings) {
  if (name != "tiny" && name != "small") {
    settings.model = name;
    return BenchConfig(name).status();
  }
  settings.model = settings.work + "/policy";
  return RunInOwnProcess([&]() -> absl::StatusOr<std::string> {
           ALIGN_ASSIGN_OR_RETURN(const auto model, BenchModel(name));
           ALIGN_RETURN_IF_ERROR(SaveModel(*model, settings.model, ""));
           return std::string();
         })
      .status();
}

cli::Command MakeCommand(const losses::OptionList& numbers) {
  cli::Command command{
      .name = "dpo_vs_ppo",
      .usage = "dpo_vs_ppo [--model NAME] [--gold REWARD] [--json FILE] ...",
      .summary = "What DPO and PPO cost, an update and to a gold reward.",
      .flags = {{"model", "NAME", "tiny, small or a model directory (tiny)"},
                {"prompts_file", "FILE", "records (openings of the model)"},
                {"gold", "REWARD",
                 "even: the share of even token ids; a lexicon (.txt); or a "
                 "reward model directory (even)"},
                {"json", "FILE", "writes the table there too"}},
      .run = nullptr};
  for (const losses::Option& number : numbers.options()) {
    command.flags.push_back(
        {number.name, "X", number.doc + " (" + number.default_text + ")"});
  }
  return command;
}

absl::Status Main(const std::vector<std::string>& words) {
  Settings settings;
  losses::OptionList numbers;
  settings.Describe(numbers);
  const cli::Command command = MakeCommand(numbers);
  ALIGN_ASSIGN_OR_RETURN(const cli::Arguments arguments,
                         cli::ParseArguments(command, words));
  if (arguments.Has("help")) {
    std::fputs(cli::CommandHelp(command).c_str(), stdout);
    return absl::OkStatus();
  }
  for (const losses::Option& number : numbers.options()) {
    if (!arguments.Has(number.name)) continue;
    const std::string text = arguments.Get(number.name, "");
    if (!number.set(text)) {
      return InvalidArgument("--" + number.name + " " + text + ": expected " +
                             number.allowed);
    }
  }
  ALIGN_ASSIGN_OR_RETURN(const int64_t threads,
                         arguments.GetInteger("threads", Threads(), 1, 1024));
  SetThreads(static_cast<int>(threads));
  settings.gold = arguments.Get("gold", "even");
  settings.prompts_file = arguments.Get("prompts_file", "");
  settings.work = (std::filesystem::temp_directory_path() /
                   ("dpo_vs_ppo_" + std::to_string(getpid())))
                      .string();
  ALIGN_RETURN_IF_ERROR(MakeDirectories(settings.work));
  absl::Status status = ResolveModel(arguments.Get("model", "tiny"), settings);
  if (status.ok()) status = Measure(settings, arguments.Get("json", ""));
  std::filesystem::remove_all(settings.work);
  return status;
}

}  // namespace
}  // namespace align::bench

int main(int argc, char** argv) {
  const absl::Status status =
      align::bench::Main({argv + 1, argv + std::max(argc, 1)});
  if (status.ok()) return 0;
  std::fprintf(stderr, "dpo_vs_ppo: %s\n", align::Message(status).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ||
                 status.code() == absl::StatusCode::kNotFound
             ? 2
             : 1;
}
