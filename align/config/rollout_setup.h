#pragma once

// What the methods that learn from their own samples share: ppo, grpo,
// online_dpo, xpo and nash_md.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/config/train_run.h"
#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/train/checkpoint.h"
#include "align/train/reward_function.h"
#include "align/train/rollout.h"
#include "align/train/weighted_reward.h"

namespace align::pb {
class RewardConfig;
class TrainConfig;
}  // namespace align::pb

namespace align {

// Whether the config's method samples what it learns from.
bool SamplesReplies(const pb::TrainConfig& config);

// kInvalidArgument for keys of data that these methods do not read.
absl::Status RefuseBatchKeys(const pb::TrainConfig& config);

// Rollouts are cut into steps without a rest, so that every rollout ends with a
// step: only there can a run be continued. kInvalidArgument unless the
// `batches` of one, epochs * minibatches of `section`, are a multiple of
// loop.accumulation and loop.steps one of its steps.
absl::Status CheckRolloutSteps(const pb::TrainConfig& config,
                               const std::string& section, int64_t batches);

// A reward and the model that it may read.
struct LoadedReward {
  std::unique_ptr<Model> model;  // null when the reward is a rule
  train::RewardFunction score;
};

// kInvalidArgument unless `key`, a reward, names exactly one source.
absl::Status CheckReward(const std::string& key,
                         const pb::RewardConfig& config);
// What it names, for replies of `policy` to `prompts`; `tokenizer` must outlive
// it.
absl::StatusOr<LoadedReward> LoadReward(const std::string& key,
                                        const pb::RewardConfig& config,
                                        const Model& policy,
                                        const Tokenizer& tokenizer,
                                        const PromptBatch& prompts);

// The same of all of `reward` and `rewards`, for methods that weigh several:
// kInvalidArgument for none, a weight that is not finite or two of one name.
absl::Status CheckRewards(const pb::TrainConfig& config);
struct LoadedRewards {
  std::vector<std::unique_ptr<Model>> models;  // that they read
  std::vector<train::WeightedReward> rewards;
};
absl::StatusOr<LoadedRewards> LoadRewards(const pb::TrainConfig& config,
                                          const TrainRun& run,
                                          const PromptBatch& prompts);
// Their models, from config.json.
absl::StatusOr<std::vector<HeldModel>> HeldRewards(
    const pb::TrainConfig& config);

// The model of reference.path, or FrozenStart of the policy, which must outlive
// it.
absl::StatusOr<std::unique_ptr<Model>> LoadReference(
    const pb::TrainConfig& config, const Model& policy);

// kInvalidArgument when the longest prompt, of so many tokens, leaves no room
// in so many positions for sampling.max_new_tokens.
absl::Status CheckPromptRoom(const pb::TrainConfig& config, int64_t longest,
                             int64_t positions);

// The prompts of data.train. Errors of reading and of CheckPromptRoom.
absl::StatusOr<PromptBatch> ReadPrompts(const pb::TrainConfig& config,
                                        const TrainRun& run);

// A rollout's state in a checkpoint.
void SaveRolloutState(const train::RolloutState& state,
                      train::CheckpointState& checkpoint);
train::RolloutState RolloutStateOf(const train::CheckpointState& checkpoint);

// How a run knows where its rollouts stand and goes back there.
template <class Rollouts>
void FollowRollouts(const std::shared_ptr<Rollouts>& rollouts, TrainRun& run) {
  run.epoch = [rollouts] { return rollouts->epoch(); };
  run.resumable = [rollouts] { return rollouts->between_rollouts(); };
  run.save = [rollouts](train::CheckpointState& state) {
    SaveRolloutState(rollouts->state(), state);
  };
  run.restore = [rollouts](const train::CheckpointState& state) {
    rollouts->set_state(RolloutStateOf(state));
    return absl::OkStatus();
  };
}

// train::CheckInitialRatios, and a line in the log when they are 1.
absl::Status CheckAndLogInitialRatios(const std::string& method,
                                      const train::StepReport& report);

// A model of a run, from its config.json.
absl::StatusOr<HeldModel> HeldFromDirectory(const std::string& role,
                                            const std::string& directory,
                                            int64_t copies);
// The reference of a run: that of reference.path or FrozenStart's.
absl::StatusOr<HeldModel> HeldReference(const pb::TrainConfig& config,
                                        const Model& policy);

}  // namespace align
