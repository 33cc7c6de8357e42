#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "align/base/status.h"

namespace align {

namespace pb {
class CompareConfig;
}  // namespace pb

struct CompareOptions {
  // Stages that may run side by side; above 1 only with run_stage, which is
  // then called by several threads.
  int64_t jobs = 1;
  // Runs one stage; the program gives each a process of its own, so that its
  // peak memory is its own. Empty: in this process.
  std::function<absl::Status(const std::string& stage)> run_stage;
  std::function<void(const std::string& line)> print;  // progress and table
  std::function<bool()> stop;                          // polled between stages
};

// `align compare`: runs the stages of PlanCompare that have no valid output in
// `out`, then writes results.json, results.md and samples.md there and prints
// the table. With jobs > 1 a stage starts as soon as those it needs have ended:
// results are the same, and a stage's seconds are those beside others. After an
// error no stage starts. kCancelled keeps every finished stage.
absl::Status RunCompare(const pb::CompareConfig& config, const std::string& out,
                        const CompareOptions& options);

// One stage, in this process, with the key that the plan gives it.
absl::Status RunCompareStageByName(const pb::CompareConfig& config,
                                   const std::string& out,
                                   const std::string& stage,
                                   const std::function<bool()>& stop);

}  // namespace align
