#pragma once

#include <functional>
#include <string>

#include "align/base/status.h"

namespace align::pb {
class TrainConfig;
}  // namespace align::pb

namespace align {

// `config` with every default filled in, as a run uses it. kInvalidArgument
// names the key that is missing or out of range.
absl::Status ResolveTrainConfig(pb::TrainConfig& config);

// What a run of `config` needs, as lines of text: for every model that it holds
// the parameters and the memory of weights, gradients and moments, and in all.
absl::StatusOr<std::string> DescribeTrainJob(const pb::TrainConfig& config);

// Runs one training job into the directory `out`: config.textproto, metrics
// .jsonl, a TensorBoard event file, checkpoints/ and, at the end, model/. A run
// that was stopped goes on from its newest checkpoint to the bit. `stop` is
// polled between steps: a checkpoint is written and kCancelled returned. Method
// ppo has checkpoints between rollouts only: it stops at the end of one, or
// while it samples the next; its critic is saved beside the policy, as critic/
// or, shared, as model/value_head.safetensors.
absl::Status RunTrainJob(pb::TrainConfig config, const std::string& out,
                         const std::function<bool()>& stop = nullptr);

}  // namespace align
