#include "align/config/rollout_setup.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "align/base/log.h"
#include "align/config/lora.h"
#include "align/config/ppo_setup.h"
#include "align/config/train_data.h"
#include "align/eval/lexicon_reward.h"
#include "align/models/peft.h"
#include "align/models/tensor_spec.h"
#include "proto/config.pb.h"

namespace align {

bool SamplesReplies(const pb::TrainConfig& config) {
  return config.method() == "ppo" || config.method() == "grpo";
}

absl::Status RefuseBatchKeys(const pb::TrainConfig& config) {
  const pb::DataConfig& data = config.data();
  const char* key = nullptr;
  if (data.has_batch_size()) key = "data.batch_size";
  if (data.has_max_length()) key = "data.max_length";
  if (data.has_block_length()) key = "data.block_length";
  if (data.has_epochs()) key = "data.epochs";
  if (data.has_append_eos()) key = "data.append_eos";
  if (key == nullptr) return absl::OkStatus();
  const std::string& method = config.method();
  return InvalidArgument(std::string(key) + ": not a key of method '" + method +
                         "', whose batches are " + method +
                         ".prompts_per_rollout / " + method + ".minibatches");
}

absl::Status CheckRolloutSteps(const pb::TrainConfig& config,
                               const std::string& section, int64_t batches) {
  const int64_t accumulation = config.loop().accumulation();
  if (accumulation < 1 || batches % accumulation != 0) {
    return InvalidArgument(
        "loop.accumulation: " + std::to_string(accumulation) +
        "; expected a divisor of " + section + ".epochs * " + section +
        ".minibatches = " + std::to_string(batches));
  }
  const int64_t steps = batches / accumulation;
  if (config.loop().steps() % steps != 0) {
    return InvalidArgument(
        "loop.steps: " + std::to_string(config.loop().steps()) +
        "; expected a multiple of " + std::to_string(steps) +
        ", the steps of one rollout (" + section + ".epochs * " + section +
        ".minibatches / loop.accumulation)");
  }
  return absl::OkStatus();
}

absl::Status CheckReward(const std::string& key,
                         const pb::RewardConfig& config) {
  if (config.has_model() != config.has_lexicon()) return absl::OkStatus();
  return InvalidArgument(key + ": expected exactly one of " + key +
                         ".model and " + key + ".lexicon");
}

absl::StatusOr<LoadedReward> LoadReward(const std::string& key,
                                        const pb::RewardConfig& config,
                                        const Model& policy,
                                        const Tokenizer& tokenizer) {
  LoadedReward reward;
  if (config.has_model()) {
    ALIGN_ASSIGN_OR_RETURN(reward.model,
                           LoadScorer(key + ".model", config.model(), policy));
    reward.score = train::RewardModelFunction(*reward.model);
    return reward;
  }
  ALIGN_ASSIGN_OR_RETURN(LexiconReward lexicon,
                         LexiconReward::Load(config.lexicon()));
  reward.score = LexiconRewardFunction(std::move(lexicon), tokenizer);
  return reward;
}

absl::StatusOr<std::unique_ptr<Model>> LoadReference(
    const pb::TrainConfig& config, const Model& policy) {
  if (!config.reference().has_path()) return FrozenStart(config, policy);
  ALIGN_ASSIGN_OR_RETURN(
      std::unique_ptr<Model> reference,
      LoadModel(config.reference().path(), config.reference().base()));
  if (reference->config().architecture.head !=
          policy.config().architecture.head ||
      reference->config().vocab_size != policy.config().vocab_size) {
    return InvalidArgument("reference.path: " + config.reference().path() +
                           " is not a language model of the policy's " +
                           std::to_string(policy.config().vocab_size) + " ids");
  }
  return reference;
}

absl::Status CheckPromptRoom(const pb::TrainConfig& config, int64_t longest,
                             int64_t positions) {
  const int64_t sampled = config.sampling().max_new_tokens();
  if (longest + sampled <= positions) return absl::OkStatus();
  return InvalidArgument("data.max_prompt_length: the longest prompt has " +
                         std::to_string(longest) + " tokens, which with " +
                         std::to_string(sampled) +
                         " of sampling.max_new_tokens is more than the "
                         "model's " +
                         std::to_string(positions) + " positions");
}

absl::StatusOr<PromptBatch> ReadPrompts(const pb::TrainConfig& config,
                                        const TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<PromptExample> examples,
                         ReadPromptExamples(config.data(), *run.tokenizer));
  PromptBatch batch;
  size_t longest = 0;
  for (const PromptExample& example : examples) {
    batch.prompts.push_back(example.prompt);
    batch.ids.push_back(example.id);
    batch.numbers.push_back(example.number);
    longest = std::max(longest, example.prompt.size());
  }
  ALIGN_RETURN_IF_ERROR(
      CheckPromptRoom(config, static_cast<int64_t>(longest),
                      run.model->config().max_position_embeddings));
  return batch;
}

void SaveRolloutState(const train::RolloutState& state,
                      train::CheckpointState& checkpoint) {
  checkpoint.positions = {{"rollout", state.rollout},
                          {"tokens_sampled", state.tokens_sampled},
                          {"tokens_trained", state.tokens_trained}};
  checkpoint.values = {{"kl_coef", state.kl_coef}};
}

train::RolloutState RolloutStateOf(const train::CheckpointState& checkpoint) {
  return {.rollout = checkpoint.positions.at("rollout"),
          .kl_coef = checkpoint.values.at("kl_coef"),
          .tokens_sampled = checkpoint.positions.at("tokens_sampled"),
          .tokens_trained = checkpoint.positions.at("tokens_trained")};
}

absl::Status CheckAndLogInitialRatios(const std::string& method,
                                      const train::StepReport& report) {
  ALIGN_RETURN_IF_ERROR(train::CheckInitialRatios(report));
  LogInfo(method + ": at step " + std::to_string(report.step) +
          " all ratios are 1");
  return absl::OkStatus();
}

absl::StatusOr<HeldModel> HeldFromDirectory(const std::string& role,
                                            const std::string& directory,
                                            int64_t copies) {
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig config, ConfigOf(directory));
  HeldModel held = {.role = role, .copies = copies};
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    held.parameters += ElementCount(spec.shape);
  }
  return held;
}

absl::StatusOr<HeldModel> HeldReference(const pb::TrainConfig& config,
                                        const Model& policy) {
  if (config.reference().has_path()) {
    return HeldFromDirectory("reference", config.reference().path(), 1);
  }
  return HeldStart(config, policy);
}

}  // namespace align
