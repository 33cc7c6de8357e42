#pragma once

#include <functional>
#include <string>

#include "align/base/status.h"

namespace align {

namespace pb {
class CompareConfig;
}  // namespace pb

struct CompareOptions {
  // Runs one stage; the program gives each a process of its own, so that its
  // peak memory is its own. Empty: in this process.
  std::function<absl::Status(const std::string& stage)> run_stage;
  std::function<void(const std::string& line)> print;  // progress and table
  std::function<bool()> stop;                          // polled between stages
};

// `align compare`: runs the stages of PlanCompare that have no valid output in
// `out`, then writes results.json, results.md and samples.md there and prints
// the table. kCancelled keeps every finished stage.
absl::Status RunCompare(const pb::CompareConfig& config, const std::string& out,
                        const CompareOptions& options);

// One stage, in this process, with the key that the plan gives it.
absl::Status RunCompareStageByName(const pb::CompareConfig& config,
                                   const std::string& out,
                                   const std::string& stage,
                                   const std::function<bool()>& stop);

}  // namespace align
