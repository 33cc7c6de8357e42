#include "align/config/bench_job.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "align/base/files.h"
#include "align/config/own_process.h"

namespace align::bench {
namespace {

// Runs stages in processes of their own and says how long each took.
class StageRunner {
 public:
  StageRunner(std::string prefix,
              const std::function<void(const std::string&)>& print)
      : prefix_(std::move(prefix)), print_(print) {}

  absl::StatusOr<StageResult> Run(
      const std::string& title,
      const std::function<absl::StatusOr<StageResult>()>& stage) const {
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
      return Internal(title + ": a result of another size");
    }
    result.peak_rss_mb = process.peak_rss_mb;
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, ": %.1f s", result.seconds);
    print_(prefix_ + title + seconds);
    return result;
  }

 private:
  std::string prefix_;
  const std::function<void(const std::string&)>& print_;
};

StageResult Sum(const StageResult& a, const StageResult& b) {
  StageResult sum = b;
  sum.seconds += a.seconds;
  sum.tokens_sampled += a.tokens_sampled;
  sum.tokens_trained += a.tokens_trained;
  return sum;
}

// One seed, with all that its stages leave in settings.work.
absl::StatusOr<SeedCosts> RunSeed(Settings settings,
                                  const StageRunner& stages) {
  ALIGN_ASSIGN_OR_RETURN(
      const StageResult pairs,
      stages.Run("prompts and pairs", [&] { return Prepare(settings); }));
  if (pairs.needs_judge) {
    ALIGN_RETURN_IF_ERROR(
        stages
            .Run("judge",
                 [&] { return TrainReward(settings, "judge_pairs", "judge"); })
            .status());
    settings.gold = settings.work + "/judge";
  }
  ALIGN_ASSIGN_OR_RETURN(const StageResult start,
                         stages.Run("gold reward of the start",
                                    [&] { return LookAtStart(settings); }));
  ALIGN_ASSIGN_OR_RETURN(const StageResult reward,
                         stages.Run("reward model", [&] {
                           return TrainReward(settings, "pairs", "reward");
                         }));
  SeedCosts costs{.seed = static_cast<uint64_t>(settings.seed),
                  .start = start.gold,
                  .goal = start.gold + settings.goal,
                  .methods = {}};
  costs.methods[0] = {.models_held = 2, .before = pairs};
  costs.methods[1] = {.models_held = 4, .before = Sum(pairs, reward)};
  // Whole rollouts, so that sampling is shared by all of its updates.
  const double rollout = settings.epochs * settings.minibatches;
  const Goal cost = {.max_updates = static_cast<int64_t>(
                         std::ceil(settings.cost_updates / rollout) * rollout),
                     .gold = std::nan("")};
  const Goal goal = {.max_updates = static_cast<int64_t>(settings.max_updates),
                     .gold = costs.goal};
  for (size_t i = 0; i < costs.methods.size(); ++i) {
    MethodCosts& method = costs.methods[i];
    const auto run = i == 0 ? RunDpo : RunPpo;
    const std::string name = kMethods[i];
    ALIGN_ASSIGN_OR_RETURN(method.cost, stages.Run(name + ", cost", [&] {
      return run(settings, cost);
    }));
    ALIGN_ASSIGN_OR_RETURN(method.goal, stages.Run(name + ", to the goal", [&] {
      return run(settings, goal);
    }));
  }
  return costs;
}

}  // namespace

absl::StatusOr<std::vector<SeedCosts>> RunBench(
    const Settings& settings, int64_t seeds,
    const std::function<void(const std::string&)>& print) {
  std::vector<SeedCosts> all;
  absl::Status status;
  for (int64_t i = 0; i < seeds && status.ok(); ++i) {
    Settings one = settings;
    one.seed += static_cast<double>(i);
    one.work += "/seed" + std::to_string(i);
    const std::string prefix = seeds == 1
                                   ? ""
                                   : "[seed " + std::to_string(i + 1) + "/" +
                                         std::to_string(seeds) + "] ";
    status = MakeDirectories(one.work);
    if (!status.ok()) break;
    auto costs = RunSeed(std::move(one), StageRunner(prefix, print));
    status = costs.status();
    if (costs.ok()) all.push_back(*std::move(costs));
  }
  std::error_code ignored;
  std::filesystem::remove_all(settings.work, ignored);
  if (!status.ok()) return status;
  return all;
}

}  // namespace align::bench
