#include "align/config/train_ppo.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "align/base/log.h"
#include "align/config/ppo_setup.h"
#include "align/config/settings.h"
#include "align/config/train_data.h"
#include "align/eval/lexicon_reward.h"
#include "align/models/tensor_spec.h"
#include "proto/config.pb.h"

namespace align {
namespace {

constexpr char kValueHeadFile[] = "value_head.safetensors";

// Optimizer steps of one rollout.
int64_t StepsOfRollout(const pb::TrainConfig& config) {
  return config.ppo().epochs() * config.ppo().minibatches() /
         config.loop().accumulation();
}

bool SharedCritic(const pb::TrainConfig& config) {
  return config.ppo().critic() == "shared";
}

// Where a separate critic starts.
std::string CriticDirectory(const pb::TrainConfig& config) {
  return config.has_value_model() ? config.value_model()
                                  : config.reward().model();
}

// Rollouts are cut into steps without a rest, so that every rollout ends with a
// step: only there can a run be continued.
absl::Status CheckSteps(const pb::TrainConfig& config) {
  const int64_t batches = config.ppo().epochs() * config.ppo().minibatches();
  const int64_t accumulation = config.loop().accumulation();
  if (accumulation < 1 || batches % accumulation != 0) {
    return InvalidArgument(
        "loop.accumulation: " + std::to_string(accumulation) +
        "; expected a divisor of ppo.epochs * ppo.minibatches = " +
        std::to_string(batches));
  }
  if (config.loop().steps() % StepsOfRollout(config) != 0) {
    return InvalidArgument(
        "loop.steps: " + std::to_string(config.loop().steps()) +
        "; expected a multiple of " + std::to_string(StepsOfRollout(config)) +
        ", the steps of one rollout (ppo.epochs * "
        "ppo.minibatches / loop.accumulation)");
  }
  return absl::OkStatus();
}

// Keys that this method would not read.
absl::Status RefuseOtherKeys(const pb::TrainConfig& config) {
  const pb::DataConfig& data = config.data();
  const char* key = nullptr;
  if (config.has_loss()) key = "loss";
  if (data.has_batch_size()) key = "data.batch_size";
  if (data.has_max_length()) key = "data.max_length";
  if (data.has_block_length()) key = "data.block_length";
  if (data.has_epochs()) key = "data.epochs";
  if (data.has_append_eos()) key = "data.append_eos";
  if (key == nullptr) return absl::OkStatus();
  return InvalidArgument(std::string(key) +
                         ": not a key of method 'ppo', whose batches are "
                         "ppo.prompts_per_rollout / ppo.minibatches");
}

absl::StatusOr<std::unique_ptr<Model>> LoadReference(
    const pb::TrainConfig& config, const Model& policy) {
  if (!config.reference().has_path()) return CloneModel(policy);
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> reference,
                         LoadModel(config.reference().path()));
  if (reference->config().architecture.head !=
          policy.config().architecture.head ||
      reference->config().vocab_size != policy.config().vocab_size) {
    return InvalidArgument("reference.path: " + config.reference().path() +
                           " is not a language model of the policy's " +
                           std::to_string(policy.config().vocab_size) + " ids");
  }
  return reference;
}

absl::Status LoadCritic(const pb::TrainConfig& config,
                        const PpoSettings& settings, const Model& policy,
                        PpoModels& models) {
  const Rng rng = Rng(config.loop().seed()).Fork("value_head");
  if (!settings.shared_critic) {
    ALIGN_ASSIGN_OR_RETURN(
        models.critic,
        LoadScorer(config.has_value_model() ? "value_model" : "reward.model",
                   CriticDirectory(config), policy, &rng));
    return absl::OkStatus();
  }
  models.value_head = std::make_unique<ValueHead>(policy.config().hidden_size);
  if (config.has_value_model()) {
    return Annotate(LoadValueHead(config.value_model() + "/" + kValueHeadFile,
                                  *models.value_head),
                    "value_model");
  }
  if (!settings.zero_value_head) models.value_head->Draw(rng);
  return absl::OkStatus();
}

absl::StatusOr<PpoModels> LoadModels(const pb::TrainConfig& config,
                                     const PpoSettings& settings,
                                     const TrainRun& run) {
  const Model& policy = *run.model;
  PpoModels models;
  ALIGN_ASSIGN_OR_RETURN(models.reference, LoadReference(config, policy));
  if (config.reward().has_model()) {
    ALIGN_ASSIGN_OR_RETURN(
        models.reward_model,
        LoadScorer("reward.model", config.reward().model(), policy));
    models.reward = train::RewardModelFunction(*models.reward_model);
  } else {
    ALIGN_ASSIGN_OR_RETURN(LexiconReward lexicon,
                           LexiconReward::Load(config.reward().lexicon()));
    models.reward = LexiconRewardFunction(std::move(lexicon), *run.tokenizer);
  }
  ALIGN_RETURN_IF_ERROR(LoadCritic(config, settings, policy, models));
  return models;
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
  const int64_t needed =
      static_cast<int64_t>(longest) + config.sampling().max_new_tokens();
  const int64_t positions = run.model->config().max_position_embeddings;
  if (needed > positions) {
    return InvalidArgument(
        "data.max_prompt_length: the longest prompt has " +
        std::to_string(longest) + " tokens, which with " +
        std::to_string(config.sampling().max_new_tokens()) +
        " of sampling.max_new_tokens is more than the model's " +
        std::to_string(positions) + " positions");
  }
  return batch;
}

void SaveState(const train::PpoRolloutState& state,
               train::CheckpointState& checkpoint) {
  checkpoint.positions = {{"rollout", state.rollout},
                          {"tokens_sampled", state.tokens_sampled},
                          {"tokens_trained", state.tokens_trained}};
  checkpoint.values = {{"kl_coef", state.kl_coef}};
}

absl::StatusOr<HeldModel> FromDirectory(const std::string& role,
                                        const std::string& directory,
                                        int64_t copies) {
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  HeldModel held = {.role = role, .copies = copies};
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    held.parameters += ElementCount(spec.shape);
  }
  return held;
}

}  // namespace

absl::Status ResolvePpoConfig(pb::TrainConfig& config) {
  if (config.method() != "ppo") {
    const char* key = nullptr;
    if (config.has_reward()) key = "reward";
    if (config.has_sampling()) key = "sampling";
    if (config.has_ppo()) key = "ppo";
    if (config.has_value_model()) key = "value_model";
    if (key == nullptr) return absl::OkStatus();
    return InvalidArgument(std::string(key) + ": not a key of method '" +
                           config.method() + "', only of 'ppo'");
  }
  ALIGN_RETURN_IF_ERROR(RefuseOtherKeys(config));
  if (config.reward().has_model() == config.reward().has_lexicon()) {
    return InvalidArgument(
        "reward: expected exactly one of reward.model and reward.lexicon");
  }
  ALIGN_ASSIGN_OR_RETURN(const samplers::SamplingOptions sampling,
                         ReadSampling(config.sampling()));
  ALIGN_RETURN_IF_ERROR(ReadPpo(config.ppo(), sampling.temperature).status());
  FillDefaults(*config.mutable_sampling());
  FillDefaults(*config.mutable_ppo());
  if (!SharedCritic(config) && CriticDirectory(config).empty()) {
    return InvalidArgument(
        "value_model: a separate critic needs a model to start from where the "
        "reward is a lexicon (or set ppo.critic to 'shared')");
  }
  return CheckSteps(config);
}

absl::Status PreparePpo(const pb::TrainConfig& config,
                        std::function<bool()> stop, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(samplers::SamplingOptions sampling,
                         ReadSampling(config.sampling()));
  sampling.stop_ids = StopIds(*run.tokenizer);
  ALIGN_ASSIGN_OR_RETURN(const PpoSettings settings,
                         ReadPpo(config.ppo(), sampling.temperature));
  ALIGN_ASSIGN_OR_RETURN(PromptBatch prompts, ReadPrompts(config, run));
  const auto count = static_cast<double>(prompts.prompts.size());
  ALIGN_ASSIGN_OR_RETURN(PpoModels models, LoadModels(config, settings, run));
  ALIGN_ASSIGN_OR_RETURN(
      std::unique_ptr<PpoRun> made,
      PpoRun::Create(*run.model, std::move(models), settings, sampling,
                     std::move(prompts), std::move(stop),
                     Rng(config.loop().seed()).Fork("ppo")));
  const std::shared_ptr<PpoRun> ppo = std::move(made);
  run.stores = ppo->stores();
  run.micro_steps = [ppo, steps = ppo->micro_steps()] { return steps(); };
  run.epoch = [ppo, count, per_rollout = settings.rollout.prompts] {
    return static_cast<double>(ppo->rollouts().state().rollout * per_rollout) /
           count;
  };
  run.resumable = [ppo] { return ppo->rollouts().between_rollouts(); };
  run.save = [ppo](train::CheckpointState& state) {
    SaveState(ppo->rollouts().state(), state);
  };
  run.restore = [ppo](const train::CheckpointState& state) {
    ppo->rollouts().set_state(
        {.rollout = state.positions.at("rollout"),
         .kl_coef = state.values.at("kl_coef"),
         .tokens_sampled = state.positions.at("tokens_sampled"),
         .tokens_trained = state.positions.at("tokens_trained")});
    return absl::OkStatus();
  };
  run.check_first_step = [](const train::StepReport& report) -> absl::Status {
    ALIGN_RETURN_IF_ERROR(train::CheckInitialPpoStep(report));
    LogInfo("ppo: at step " + std::to_string(report.step) +
            " all ratios are 1");
    return absl::OkStatus();
  };
  run.save_beside = [ppo, tokenizer = TokenizerOf(config),
                     format = WeightFormatOf(config)](const std::string& out) {
    const PpoModels& models = ppo->models();
    return models.value_head
               ? SaveValueHead(*models.value_head,
                               out + "/model/" + kValueHeadFile)
               : SaveModel(*models.critic, out + "/critic", tokenizer, format);
  };
  return absl::OkStatus();
}

absl::StatusOr<std::vector<HeldModel>> PpoModelsBeside(
    const pb::TrainConfig& config, const Model& policy) {
  std::vector<HeldModel> held;
  if (SharedCritic(config)) {
    held.push_back({.role = "value head",
                    .parameters = policy.config().hidden_size + 1,
                    .copies = 4});
  } else {
    ALIGN_ASSIGN_OR_RETURN(held.emplace_back(),
                           FromDirectory("critic", CriticDirectory(config), 4));
  }
  if (config.reward().has_model()) {
    ALIGN_ASSIGN_OR_RETURN(
        held.emplace_back(),
        FromDirectory("reward model", config.reward().model(), 1));
  }
  held.push_back(
      {.role = "reference", .parameters = policy.params().parameter_count()});
  if (config.reference().has_path()) {
    ALIGN_ASSIGN_OR_RETURN(
        held.back(), FromDirectory("reference", config.reference().path(), 1));
  }
  return held;
}

}  // namespace align
