#include "align/config/train_job.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/base/log.h"
#include "align/base/memory.h"
#include "align/config/parse.h"
#include "align/config/run_events.h"
#include "align/config/settings.h"
#include "align/config/train_data.h"
#include "align/data/loader.h"
#include "align/models/model.h"
#include "align/text/tokenizer.h"
#include "align/train/checkpoint.h"
#include "align/train/metrics.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "align/train/reward_objective.h"
#include "align/train/sft_objective.h"
#include "losses/registry.h"
#include "proto/config.pb.h"

namespace align {
namespace {

// The default of an unset key; defaults stand here and nowhere else.
#define ALIGN_DEFAULT(message, name, value) \
  if (!(message)->has_##name()) (message)->set_##name(value)

std::string TokenizerOf(const pb::TrainConfig& config) {
  return config.model().has_tokenizer() ? config.model().tokenizer()
                                        : config.model().path();
}

absl::StatusOr<std::unique_ptr<Model>> MakeModel(const pb::TrainConfig& config,
                                                 const Tokenizer& tokenizer) {
  const Rng rng = Rng(config.loop().seed()).Fork("model");
  const bool reward = config.method() == "reward";
  if (!config.model().has_create()) {
    return reward ? LoadRewardModel(config.model().path(), rng)
                  : LoadModel(config.model().path());
  }
  const pb::NewModel& create = config.model().create();
  ModelConfig shape;
  if (reward)
    shape.architecture = Architecture::kLlamaForSequenceClassification;
  shape.vocab_size = tokenizer.vocab_size();
  shape.hidden_size = create.hidden_size();
  shape.intermediate_size = create.intermediate_size();
  shape.num_hidden_layers = create.layers();
  shape.num_attention_heads = create.heads();
  shape.num_key_value_heads =
      create.has_kv_heads() ? create.kv_heads() : create.heads();
  shape.head_dim =
      create.heads() > 0 ? create.hidden_size() / create.heads() : 0;
  if (create.has_max_positions()) {
    shape.max_position_embeddings = create.max_positions();
  }
  if (create.has_rope_theta()) shape.rope_theta = create.rope_theta();
  shape.tie_word_embeddings = create.tie_embeddings();
  shape.bos_token_id = tokenizer.bos_id();
  shape.eos_token_ids.clear();
  if (tokenizer.eos_id()) shape.eos_token_ids.push_back(*tokenizer.eos_id());
  return CreateModel(shape, rng);
}

// A loader of any kind behind what the loop and checkpoints need.
struct Feed {
  train::MicroSteps micro_steps;
  std::function<LoaderPosition()> position;
  std::function<absl::Status(const LoaderPosition&)> seek;
  std::function<double()> epoch;
};

template <class Example, class Batch>
absl::StatusOr<Feed> MakeFeed(std::vector<Example> examples,
                              const pb::TrainConfig& config,
                              train::Objective<Batch> objective) {
  const double count = static_cast<double>(examples.size());
  ALIGN_ASSIGN_OR_RETURN(
      auto made, (Loader<Example, Batch>::Create(
                     std::move(examples),
                     {.batch_size = config.data().batch_size(),
                      .epochs = config.data().epochs(),
                      .seed = static_cast<uint64_t>(config.loop().seed())})));
  const auto loader = std::make_shared<Loader<Example, Batch>>(std::move(made));
  Feed feed;
  feed.micro_steps = train::Bind<Batch>(
      [loader]() -> absl::StatusOr<std::optional<Batch>> {
        return loader->Next();
      },
      std::move(objective));
  feed.position = [loader] { return loader->position(); };
  feed.seek = [loader](const LoaderPosition& p) { return loader->Seek(p); };
  feed.epoch = [loader, count] {
    return static_cast<double>(loader->position().epoch) +
           static_cast<double>(loader->position().index) / count;
  };
  return feed;
}

// Everything a run owns besides the policy.
struct Run {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Model> model;
  std::unique_ptr<Model> reference;
  Feed feed;
};

absl::Status MakePreferenceFeed(const pb::TrainConfig& config,
                                std::vector<PairExample> pairs, Run& run) {
  std::vector<std::pair<std::string, std::string>> options;
  for (const pb::LossOption& option : config.loss().options()) {
    options.emplace_back(option.name(), option.value());
  }
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss,
                         train::MakePairLoss(config.loss().name(), options));
  if (config.reference().has_path()) {
    ALIGN_ASSIGN_OR_RETURN(run.reference, LoadModel(config.reference().path()));
  } else {
    run.reference = CloneModel(*run.model);
  }
  ALIGN_ASSIGN_OR_RETURN(
      run.feed,
      (MakeFeed<PairExample, PreferenceBatch>(
          std::move(pairs), config,
          train::PreferenceObjective(
              *run.model,
              train::CachedReference(train::FrozenReference(*run.reference)),
              loss.loss))));
  return absl::OkStatus();
}

// Bradley-Terry with the options of `config.loss`.
absl::StatusOr<train::RewardLoss> RewardLossOf(const pb::TrainConfig& config) {
  losses::BradleyTerryOptions options;
  losses::OptionList list;
  options.Describe(list);
  losses::OptionValues values;
  for (const pb::LossOption& option : config.loss().options()) {
    values.emplace_back(option.name(), option.value());
  }
  const std::string error = losses::SetOptions("bradley_terry", list, values);
  if (!error.empty()) return InvalidArgument(error);
  return train::BradleyTerry(options);
}

absl::StatusOr<Run> PrepareRun(const pb::TrainConfig& config) {
  Run run;
  ALIGN_ASSIGN_OR_RETURN(run.tokenizer, LoadTokenizer(TokenizerOf(config)));
  ALIGN_ASSIGN_OR_RETURN(run.model, MakeModel(config, *run.tokenizer));
  run.model->params().EnableGradients();
  if (config.method() == "sft") {
    ALIGN_ASSIGN_OR_RETURN(std::vector<SftExample> examples,
                           ReadSftExamples(config.data(), *run.tokenizer));
    ALIGN_ASSIGN_OR_RETURN(run.feed, (MakeFeed<SftExample, SftBatch>(
                                         std::move(examples), config,
                                         train::SftObjective(*run.model))));
    return run;
  }
  ALIGN_ASSIGN_OR_RETURN(std::vector<PairExample> pairs,
                         ReadPairExamples(config.data(), *run.tokenizer));
  if (config.method() == "preference") {
    ALIGN_RETURN_IF_ERROR(MakePreferenceFeed(config, std::move(pairs), run));
    return run;
  }
  ALIGN_ASSIGN_OR_RETURN(train::RewardLoss loss, RewardLossOf(config));
  ALIGN_ASSIGN_OR_RETURN(
      run.feed, (MakeFeed<PairExample, PreferenceBatch>(
                    std::move(pairs), config,
                    train::RewardObjective(*run.model, std::move(loss)))));
  return run;
}

train::CheckpointState StateOf(const Run& run, int64_t step,
                               const std::string& config_hash) {
  const LoaderPosition position = run.feed.position();
  return {.step = step,
          .config_hash = config_hash,
          .positions = {{"epoch", position.epoch}, {"index", position.index}},
          .streams = {},
          .values = {}};
}

absl::StatusOr<int64_t> Resume(train::Checkpoints& checkpoints,
                               const std::string& config_hash, Run& run) {
  ALIGN_ASSIGN_OR_RETURN(const std::optional<train::CheckpointState> state,
                         checkpoints.RestoreLatest(config_hash));
  if (!state) return 0;
  LogInfo("continuing after step " + std::to_string(state->step));
  ALIGN_RETURN_IF_ERROR(run.feed.seek({.epoch = state->positions.at("epoch"),
                                       .index = state->positions.at("index")}));
  return state->step;
}

absl::Status Train(const pb::TrainConfig& config, const std::string& out,
                   const std::function<bool()>& stop, Run& run) {
  ALIGN_ASSIGN_OR_RETURN(
      const StepSettings settings,
      ReadOptimizer(config.optimizer(), config.loop().steps()));
  ALIGN_ASSIGN_OR_RETURN(train::LearningRateFactor factor,
                         train::MakeSchedule(settings.schedule));
  ParamStore& store = run.model->params();
  train::Optimizer optimizer(settings.optimizer, std::move(factor), {&store});
  train::Checkpoints checkpoints(
      out + "/checkpoints", config.loop().keep_checkpoints(),
      {{.name = "policy", .store = &store}}, optimizer);
  const std::string hash = ContentHash(ConfigText(config));
  ALIGN_ASSIGN_OR_RETURN(const int64_t first, Resume(checkpoints, hash, run));
  ALIGN_ASSIGN_OR_RETURN(
      train::Observer metrics,
      train::MetricsFileObserver(out + "/metrics.jsonl", first,
                                 {.epoch = run.feed.epoch}));
  ALIGN_ASSIGN_OR_RETURN(train::Observer events, RunEvents(out));
  const int64_t every = config.loop().checkpoint_every();
  const auto save = [&](const train::StepReport& report)
      -> absl::StatusOr<train::ObserverResult> {
    const bool stopping = stop && stop();
    const bool last = report.step == config.loop().steps();
    if (stopping || last || (every > 0 && report.step % every == 0)) {
      ALIGN_RETURN_IF_ERROR(checkpoints.Save(StateOf(run, report.step, hash)));
    }
    return train::ObserverResult{.stop = stopping};
  };
  ALIGN_ASSIGN_OR_RETURN(
      const train::RunResult result,
      train::RunLoop(
          {.max_steps = config.loop().steps(),
           .accumulation = config.loop().accumulation(),
           .max_grad_norm = settings.max_grad_norm},
          run.feed.micro_steps, {&store}, optimizer,
          {std::move(metrics), std::move(events),
           train::ProgressObserver(
               {.title = config.method(), .max_steps = config.loop().steps()},
               [](const std::string& line) { LogInfo(line); }),
           save},
          first));
  if (result.stopped) {
    return Cancelled("stopped after step " + std::to_string(result.steps) +
                     "; run the same command again to continue");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ResolveTrainConfig(pb::TrainConfig& config) {
  const std::vector<std::string> methods = {"sft", "reward", "preference"};
  if (std::ranges::count(methods, config.method()) == 0) {
    return InvalidArgument(
        losses::UnknownName("method:", config.method(), methods));
  }
  if (config.model().has_path() == config.model().has_create()) {
    return InvalidArgument(
        "model: expected exactly one of model.path and model.create");
  }
  if (config.model().has_create() && !config.model().has_tokenizer()) {
    return InvalidArgument(
        "model.tokenizer: a new model needs the directory of its tokenizer");
  }
  if (config.data().train().empty()) {
    return InvalidArgument("data.train: expected at least one record file");
  }
  if (config.loop().steps() < 1) {
    return InvalidArgument("loop.steps: expected at least 1");
  }
  pb::DataConfig* data = config.mutable_data();
  ALIGN_DEFAULT(data, batch_size, 8);
  ALIGN_DEFAULT(data, max_length, 1024);
  ALIGN_DEFAULT(data, block_length, 256);
  ALIGN_DEFAULT(data, epochs, 0);
  ALIGN_DEFAULT(data, append_eos, true);
  pb::LoopConfig* loop = config.mutable_loop();
  ALIGN_DEFAULT(loop, accumulation, 1);
  ALIGN_DEFAULT(loop, seed, 0);
  ALIGN_DEFAULT(loop, checkpoint_every, 0);
  ALIGN_DEFAULT(loop, keep_checkpoints, 2);
  ALIGN_DEFAULT(&config, weight_format, "f32");
  if (config.weight_format() != "f32" && config.weight_format() != "bf16") {
    return InvalidArgument("weight_format: '" + config.weight_format() +
                           "'; expected f32 or bf16");
  }
  if (config.method() == "preference") {
    ALIGN_DEFAULT(config.mutable_loss(), name, "sigmoid");
  }
  return ReadOptimizer(config.optimizer(), config.loop().steps()).status();
}

absl::StatusOr<std::string> DescribeTrainJob(const pb::TrainConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                         LoadTokenizer(TokenizerOf(config)));
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                         MakeModel(config, *tokenizer));
  const double parameters =
      static_cast<double>(model->params().parameter_count());
  const double copies = config.method() == "preference" ? 5 : 4;
  return "parameters: " + std::to_string(model->params().parameter_count()) +
         "\nmemory for weights, gradients and moments" +
         (copies > 4 ? ", and the reference" : "") + ": " +
         std::to_string(static_cast<int64_t>(parameters * copies * 4 / 1e6)) +
         " MB (available: " + std::to_string(AvailableMemoryBytes() / 1000000) +
         " MB)\n";
}

absl::Status RunTrainJob(pb::TrainConfig config, const std::string& out,
                         const std::function<bool()>& stop) {
  ALIGN_RETURN_IF_ERROR(ResolveTrainConfig(config));
  ALIGN_RETURN_IF_ERROR(MakeDirectories(out));
  ALIGN_RETURN_IF_ERROR(
      WriteFileAtomically(out + "/config.textproto", ConfigText(config)));
  ALIGN_ASSIGN_OR_RETURN(Run run, PrepareRun(config));
  ALIGN_RETURN_IF_ERROR(Train(config, out, stop, run));
  return SaveModel(*run.model, out + "/model", TokenizerOf(config),
                   config.weight_format() == "bf16" ? WeightFormat::kBf16
                                                    : WeightFormat::kF32);
}

#undef ALIGN_DEFAULT

}  // namespace align
