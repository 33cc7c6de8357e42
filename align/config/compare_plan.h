#pragma once

#include <map>
#include <string>
#include <vector>

#include "align/base/precision.h"
#include "align/base/status.h"

namespace align::pb {
class CompareConfig;
class StageRecord;
}  // namespace align::pb

namespace align {

// One step of `align compare`, run in a process of its own. Its output is the
// directory OUT/stages/NAME.
struct CompareStage {
  std::string name;
  std::vector<std::string> needs;  // stages whose output it reads
  // Hash of the stage's part of the config, of its input files and of the keys
  // of what it needs: an equal key means an equal result.
  std::string key;
};

// All stages that `config` asks for, in an order in which they can run:
// prompts, sft, pairs, reward_model, dpo, rso, ppo, and one eval_METHOD for
// each method. kInvalidArgument for an unknown method, a config without base,
// prompts or gold, or a stage whose training has no steps, no data or an option
// out of range; kNotFound for a file that is not there.
absl::StatusOr<std::vector<CompareStage>> PlanCompare(
    const pb::CompareConfig& config);

// The stages that `method` needs before its own, and its own (the eval stage
// for best_of_n, whose work is at inference), in order.
std::vector<std::string> EarlierStages(const std::string& method);
std::string OwnStage(const std::string& method);

// What the job's models multiply in. kInvalidArgument: see ParsePrecision.
absl::StatusOr<Precision> ComparePrecision(const pb::CompareConfig& config);

std::string StageDirectory(const std::string& out, const std::string& stage);
// The record of a finished stage; kNotFound when there is none.
absl::StatusOr<pb::StageRecord> ReadStageRecord(const std::string& out,
                                                const std::string& stage);
absl::Status WriteStageRecord(const std::string& out,
                              const pb::StageRecord& record);

// The directory of the policy that SFT left: the base's own when SFT is off.
std::string SftModelDirectory(const pb::CompareConfig& config,
                              const std::string& out);
std::string TokenizerDirectory(const pb::CompareConfig& config);

}  // namespace align
