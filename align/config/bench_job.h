#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/config/bench_settings.h"
#include "align/config/bench_stages.h"

// `align bench`: what an update of DPO and of PPO costs, and what each spends
// until its replies earn a given gold reward, from the same start and pairs.
namespace align::bench {

// `cost` is of a few updates, `goal` of the way to the goal; `before` sums the
// stages that the method cannot do without.
struct MethodCosts {
  int64_t models_held = 0;
  StageResult cost, goal, before;
};

inline constexpr std::array<const char*, 2> kMethods = {"dpo", "ppo"};

// All of one seed.
struct SeedCosts {
  uint64_t seed = 0;
  double start = 0;  // gold reward
  double goal = 0;
  std::array<MethodCosts, kMethods.size()> methods;
};

// Measures with seeds settings.seed, settings.seed + 1, ...: `seeds` of them.
// Each stage is a process of its own, so that its peak memory is real; the
// caller must not have used OpenMP. `print` gets a line when a stage has ended.
// Makes the folder settings.work and removes it. Errors are those of the
// stages; kCancelled when settings.stop says so.
absl::StatusOr<std::vector<SeedCosts>> RunBench(
    const Settings& settings, int64_t seeds,
    const std::function<void(const std::string&)>& print);

// A number over the seeds. A goal that was not reached is infinity, which
// stands behind every other.
struct Spread {
  double median = 0, low = 0, high = 0;
};
Spread SpreadOf(std::vector<double> values);

// The table: a number a method or, of several seeds, its median (min to max).
std::string RenderBench(const std::vector<SeedCosts>& seeds);

// {"seeds": [...], "methods": [{"method": "dpo", "reached": N, KEY: {"median",
// "min", "max", "values"}, ...}, ...]}; what was not reached is null.
absl::StatusOr<std::string> BenchJson(const std::vector<SeedCosts>& seeds);

}  // namespace align::bench
