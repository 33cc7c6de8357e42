#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/config/settings.h"
#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/models/value_head.h"
#include "align/train/checkpoint.h"
#include "align/train/ppo_rollout.h"
#include "align/train/reward_function.h"
#include "align/train/run_loop.h"
#include "samplers/generate.h"

namespace align {

// The models around a PPO policy. Exactly one of `critic` and `value_head` is
// there.
struct PpoModels {
  std::unique_ptr<Model> reference;
  std::unique_ptr<Model> reward_model;    // null when the reward is a rule
  std::unique_ptr<Model> critic;          // a classifier, separate
  std::unique_ptr<ValueHead> value_head;  // on the policy's trunk
  train::RewardFunction reward;           // may read reward_model
};

// A classifier with one label from `directory`, what `key` of a config names;
// with `head_rng` also a language model, which gets a new head.
// kInvalidArgument names the key when it is another model or its vocabulary is
// not that of `policy`.
absl::StatusOr<std::unique_ptr<Model>> LoadScorer(
    const std::string& key, const std::string& directory, const Model& policy,
    const Rng* head_rng = nullptr);

// One PPO run, from prompts to micro-steps: owns its models and rollouts.
class PpoRun {
 public:
  // Policy and critic get gradients. `policy` and what `stop` refers to must
  // outlive it; `stop` ends sampling with kCancelled. Errors are those of
  // PpoRollouts::Create.
  static absl::StatusOr<std::unique_ptr<PpoRun>> Create(
      Model& policy, PpoModels models, const PpoSettings& settings,
      const samplers::SamplingOptions& sampling, PromptBatch prompts,
      std::function<bool()> stop, const Rng& rng);

  const PpoModels& models() const { return models_; }
  train::PpoRollouts& rollouts() { return *rollouts_; }
  // Samples when it has to, then PpoObjective. Refers to this object.
  train::MicroSteps micro_steps();
  // What is trained: "policy", and "critic" or "value_head".
  std::vector<train::NamedStore> stores();
  // Policy, reference, and those of the reward and the critic that exist.
  int64_t models_held() const;

 private:
  PpoRun(Model& policy, PpoModels models)
      : policy_(policy), models_(std::move(models)) {}

  Model& policy_;
  PpoModels models_;
  std::unique_ptr<train::PpoRollouts> rollouts_;
  train::Objective<train::PpoBatch> objective_;
};

}  // namespace align
