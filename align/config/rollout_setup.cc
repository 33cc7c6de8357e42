#include "align/config/rollout_setup.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "align/base/log.h"
#include "align/config/lora.h"
#include "align/config/ppo_setup.h"
#include "align/config/train_data.h"
#include "align/eval/answer_reward.h"
#include "align/eval/lexicon_reward.h"
#include "align/models/peft.h"
#include "align/models/tensor_spec.h"
#include "losses/registry_entry.h"
#include "proto/config.pb.h"

namespace align {
namespace {

constexpr const char* kAnswer = "answer";
constexpr const char* kAnswerFormat = "answer_format";
constexpr const char* kThinkFormat = "think_format";

// One of reward and rewards, by the key that names it.
struct NamedReward {
  std::string key;
  const pb::RewardConfig* config;
  std::string name;  // in metrics
};

std::vector<NamedReward> RewardsOf(const pb::TrainConfig& config) {
  std::vector<NamedReward> rewards;
  if (config.has_reward()) rewards.push_back({"reward", &config.reward(), ""});
  for (int i = 0; i < config.rewards_size(); ++i) {
    rewards.push_back(
        {"rewards[" + std::to_string(i) + "]", &config.rewards(i), ""});
  }
  for (NamedReward& reward : rewards) {
    reward.name = reward.config->has_model() ? "model" : "lexicon";
    if (reward.config->has_rule()) reward.name = reward.config->rule();
    if (reward.config->has_name()) reward.name = reward.config->name();
  }
  return rewards;
}

absl::StatusOr<train::RewardFunction> RuleReward(const std::string& rule,
                                                 const Tokenizer& tokenizer,
                                                 const PromptBatch& prompts) {
  if (rule == kAnswer) return AnswerRewardFunction(prompts, tokenizer);
  return rule == kAnswerFormat ? AnswerFormatRewardFunction(tokenizer)
                               : ThinkFormatRewardFunction(tokenizer);
}

}  // namespace

bool SamplesReplies(const pb::TrainConfig& config) {
  const std::vector<std::string> methods = {"ppo", "grpo", "online_dpo", "xpo",
                                            "nash_md"};
  return std::ranges::count(methods, config.method()) > 0;
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
  const std::string section =
      method == "ppo" || method == "grpo" ? method : "online";
  return InvalidArgument(std::string(key) + ": not a key of method '" + method +
                         "', whose batches are " + section +
                         ".prompts_per_rollout / " + section + ".minibatches");
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
  const int sources = (config.has_model() ? 1 : 0) +
                      (config.has_lexicon() ? 1 : 0) +
                      (config.has_rule() ? 1 : 0);
  if (sources != 1) {
    return InvalidArgument(key + ": expected exactly one of " + key +
                           ".model, " + key + ".lexicon and " + key + ".rule");
  }
  const std::vector<std::string> rules = {kAnswer, kAnswerFormat, kThinkFormat};
  if (config.has_rule() && std::ranges::count(rules, config.rule()) == 0) {
    return InvalidArgument(
        losses::UnknownName(key + ".rule:", config.rule(), rules));
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedReward> LoadReward(const std::string& key,
                                        const pb::RewardConfig& config,
                                        const Model& policy,
                                        const Tokenizer& tokenizer,
                                        const PromptBatch& prompts) {
  LoadedReward reward;
  if (config.has_rule()) {
    absl::StatusOr<train::RewardFunction> rule =
        RuleReward(config.rule(), tokenizer, prompts);
    if (!rule.ok()) return Annotate(rule.status(), key + ".rule");
    reward.score = *std::move(rule);
    return reward;
  }
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

absl::Status CheckRewards(const pb::TrainConfig& config) {
  const std::vector<NamedReward> rewards = RewardsOf(config);
  if (rewards.empty()) {
    return InvalidArgument("reward: expected at least one");
  }
  std::set<std::string> names;
  for (const NamedReward& reward : rewards) {
    ALIGN_RETURN_IF_ERROR(CheckReward(reward.key, *reward.config));
    if (!std::isfinite(reward.config->weight())) {
      return InvalidArgument(reward.key + ".weight: expected a finite number");
    }
    if (!names.insert(reward.name).second) {
      return InvalidArgument(reward.key + ".name: '" + reward.name +
                             "' is that of another reward; expected names that "
                             "tell them apart in metrics");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedRewards> LoadRewards(const pb::TrainConfig& config,
                                          const TrainRun& run,
                                          const PromptBatch& prompts) {
  LoadedRewards all;
  for (const NamedReward& reward : RewardsOf(config)) {
    ALIGN_ASSIGN_OR_RETURN(LoadedReward loaded,
                           LoadReward(reward.key, *reward.config, *run.model,
                                      *run.tokenizer, prompts));
    all.rewards.push_back(
        {reward.name, std::move(loaded.score),
         reward.config->has_weight() ? reward.config->weight() : 1});
    if (loaded.model) all.models.push_back(std::move(loaded.model));
  }
  return all;
}

absl::StatusOr<std::vector<HeldModel>> HeldRewards(
    const pb::TrainConfig& config) {
  std::vector<HeldModel> held;
  for (const NamedReward& reward : RewardsOf(config)) {
    if (!reward.config->has_model()) continue;
    ALIGN_ASSIGN_OR_RETURN(
        held.emplace_back(),
        HeldFromDirectory(reward.name == "model"
                              ? "reward model"
                              : "reward model '" + reward.name + "'",
                          reward.config->model(), 1));
  }
  return held;
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
  reference->params().SetPrecision(policy.params().precision());
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
    batch.answers.push_back(example.answer);
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
  HeldModel held = {.role = role, .copies = copies, .config = config};
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
