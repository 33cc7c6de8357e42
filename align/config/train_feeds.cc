#include "align/config/train_feeds.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "align/config/lora.h"
#include "align/config/loss_options.h"
#include "align/config/train_data.h"
#include "align/config/train_reference.h"
#include "align/data/loader.h"
#include "align/models/model.h"
#include "align/train/checkpoint.h"
#include "align/train/coupled.h"
#include "align/train/preference_objective.h"
#include "align/train/prompt_density.h"
#include "align/train/reward_objective.h"
#include "align/train/sft_objective.h"
#include "align/train/unpaired_objective.h"
#include "align/train/workspace.h"
#include "losses/registry.h"
#include "proto/config.pb.h"

namespace align {
namespace {

// Names of sft's losses.

absl::StatusOr<train::NamedUnpairedLoss> UnpairedLossOf(
    const pb::TrainConfig& config) {
  const pb::LossConfig& loss = config.loss(0);
  return train::MakeUnpairedLoss(loss.name(), ValuesOf(loss.options()));
}

// Whether every undesirable reply has the weight that `needs` asks for.
absl::Status CheckDensityRatios(const std::vector<UnpairedExample>& replies,
                                const losses::UnpairedNeeds& needs) {
  if (!needs.density_ratio) return absl::OkStatus();
  for (const UnpairedExample& reply : replies) {
    if (reply.desirable || reply.density_ratio) continue;
    return InvalidArgument(
        "data.train: record " + reply.id +
        " has no density_ratio; a loss with udm = true expects one in every "
        "undesirable record, or prompt_embedder to estimate it with");
  }
  return absl::OkStatus();
}

// Fills in what records lack, with the model of prompt_embedder.
absl::Status EstimateRatios(const pb::TrainConfig& config, const Model& policy,
                            std::vector<UnpairedExample>& replies) {
  if (!config.has_prompt_embedder()) return absl::OkStatus();
  const absl::StatusOr<std::unique_ptr<Model>> embedder =
      LoadModel(config.prompt_embedder());
  if (!embedder.ok()) return Annotate(embedder.status(), "prompt_embedder");
  if ((*embedder)->config().vocab_size != policy.config().vocab_size) {
    return InvalidArgument("prompt_embedder: " + config.prompt_embedder() +
                           " has " +
                           std::to_string((*embedder)->config().vocab_size) +
                           " ids; expected the policy's " +
                           std::to_string(policy.config().vocab_size));
  }
  return train::EstimateDensityRatios(
      **embedder, Rng(config.loop().seed()).Fork("density_ratios"), {},
      replies);
}

// prompt_embedder is a key only where something `reads` it.
absl::Status CheckEmbedderKey(const pb::TrainConfig& config, bool reads) {
  if (reads || !config.has_prompt_embedder()) return absl::OkStatus();
  return InvalidArgument(
      "prompt_embedder: nothing weighs prompts; expected method 'unpaired' and "
      "loss bco with udm = true");
}

// The loss of a reward model, the registry's first where none is named.
absl::StatusOr<losses::RewardLoss> RewardLossOf(const pb::TrainConfig& config) {
  losses::RewardLossOrError made = losses::MakeRewardLoss(
      config.loss(0).name(), ValuesOf(config.loss(0).options()));
  if (!made.ok()) return InvalidArgument(made.error);
  return std::move(made.loss);
}

// How many rows of an epoch's order exchange replies: those that the loss sees
// at a time.
int64_t MismatchGroup(const pb::TrainConfig& config,
                      const train::NamedUnpairedLoss& loss) {
  if (!loss.needs.mismatched) return 0;
  return config.data().batch_size() *
         (loss.coupling == losses::Coupling::kGlobal
              ? config.loop().accumulation()
              : 1);
}

LoaderOptions LoaderOptionsOf(const pb::TrainConfig& config) {
  return {.batch_size = config.data().batch_size(),
          .epochs = config.data().epochs(),
          .seed = static_cast<uint64_t>(config.loop().seed())};
}

// Gives `score` all that the run will ask for, and winds the loader back.
template <class Batch, class Example>
absl::Status ScoreAll(const pb::TrainConfig& config,
                      const LoaderOptions& options,
                      const ScoreBeforehand& score,
                      Loader<Example, Batch>& loader) {
  int64_t batches = 0;
  // One epoch has it all, unless each makes mismatched replies of its own.
  const bool repeats = options.mismatch_group == 0;
  ALIGN_RETURN_IF_ERROR(
      score([&]() -> absl::StatusOr<std::optional<PackedBatch>> {
        const bool done =
            batches++ / config.loop().accumulation() >= config.loop().steps() ||
            (repeats && loader.position().epoch > 0);
        if (done) return std::optional<PackedBatch>();
        std::optional<Batch> batch = loader.Next();
        if (!batch) return std::optional<PackedBatch>();
        return std::optional<PackedBatch>(std::move(batch->packed));
      }));
  return loader.Seek({});
}

int64_t BatchesToCome(const pb::LoopConfig& loop) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  return loop.steps() > kMost / loop.accumulation()
             ? kMost
             : loop.steps() * loop.accumulation();
}

// Puts a loader of any kind behind what the loop and checkpoints need; `bind`
// makes micro-steps of its batches.
template <class Batch, class Example, class Bind>
absl::Status SetFeed(const pb::TrainConfig& config,
                     std::vector<Example> examples,
                     const LoaderOptions& options, const ScoreBeforehand& score,
                     const Bind& bind, TrainRun& run) {
  const double count = static_cast<double>(examples.size());
  ALIGN_ASSIGN_OR_RETURN(auto made, (Loader<Example, Batch>::Create(
                                        std::move(examples), options)));
  if (score) {
    ALIGN_RETURN_IF_ERROR(ScoreAll(config, options, score, made));
  }
  const auto loader = std::make_shared<Loader<Example, Batch>>(std::move(made));
  const auto reserve = std::make_shared<train::LargestBatchReserve>(
      loader->LargestBatch(BatchesToCome(config.loop())));
  run.micro_steps = bind(
      [loader, reserve,
       rows = int64_t{0}]() mutable -> absl::StatusOr<std::optional<Batch>> {
        reserve->AfterBatch(rows);
        std::optional<Batch> batch = loader->Next();
        rows = batch ? batch->packed.rows() : 0;
        return batch;
      });
  run.save = [loader](train::CheckpointState& state) {
    state.positions = {{"epoch", loader->position().epoch},
                       {"index", loader->position().index}};
  };
  run.restore = [loader](const train::CheckpointState& state) {
    return loader->Seek({.epoch = state.positions.at("epoch"),
                         .index = state.positions.at("index")});
  };
  run.epoch = [loader, count] {
    return static_cast<double>(loader->position().epoch) +
           static_cast<double>(loader->position().index) / count;
  };
  return absl::OkStatus();
}

// For objectives that take batches one by one.
template <class Batch, class Example>
absl::Status SetPlainFeed(const pb::TrainConfig& config,
                          std::vector<Example> examples,
                          train::Objective<Batch> objective, TrainRun& run) {
  return SetFeed<Batch>(
      config, std::move(examples), LoaderOptionsOf(config), nullptr,
      [&](train::Source<Batch> source) {
        return train::Bind<Batch>(std::move(source), std::move(objective));
      },
      run);
}

// For those of coupled losses, whose `moments`, unless null, go into
// checkpoints too.
template <class Batch, class Example, class Scores>
absl::Status SetCoupledFeed(
    const pb::TrainConfig& config, const LoaderOptions& options,
    std::vector<Example> examples, const ScoreBeforehand& score,
    train::CoupledObjective<Batch, Scores> objective,
    const std::shared_ptr<losses::RunningMoments>& moments, TrainRun& run) {
  const LoraAdapters* adapters = run.model->adapters();
  if (adapters != nullptr && adapters->options().dropout > 0 &&
      objective.whole_step && config.loop().accumulation() > 1) {
    return InvalidArgument(
        "model.lora.dropout: " + std::to_string(adapters->options().dropout) +
        "; expected 0 for a loss that couples several micro-batches, because "
        "it scores them before it drops (or its option coupling: micro)");
  }
  ALIGN_RETURN_IF_ERROR(SetFeed<Batch>(
      config, std::move(examples), options, score,
      [&](train::Source<Batch> source) {
        return train::BindCoupled(std::move(source), std::move(objective),
                                  config.loop().accumulation());
      },
      run));
  if (moments == nullptr) return absl::OkStatus();
  run.save = [save = std::move(run.save),
              moments](train::CheckpointState& state) {
    save(state);
    train::SaveMoments(*moments, state);
  };
  run.restore = [restore = std::move(run.restore),
                 moments](const train::CheckpointState& state) -> absl::Status {
    ALIGN_RETURN_IF_ERROR(restore(state));
    return train::RestoreMoments(state, *moments);
  };
  return absl::OkStatus();
}

// What the loss compares with; nothing when it needs nothing.
absl::StatusOr<RunReference> ReferenceOf(const pb::TrainConfig& config,
                                         const RunPlace& place,
                                         const Model& start) {
  if (!HoldsReference(config)) return RunReference();
  return PrepareReference(config, place.out, place.stop, start);
}

// At the first step of a run whose reference is its start, margins are 0.
void CheckFirstMargins(const pb::TrainConfig& config,
                       const train::NamedPairLoss& loss, TrainRun& run) {
  if (!loss.needs.reference || config.has_reference()) return;
  run.check_first_step = [](const train::StepReport& report) {
    return report.step == 1
               ? train::CheckInitialPreferenceStep(report, std::nullopt)
               : absl::OkStatus();
  };
}

absl::Status PreparePairs(const pb::TrainConfig& config, const RunPlace& place,
                          std::vector<PairExample> pairs, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss, PairLossOf(config));
  const auto no_margin = [](const PairExample& pair) {
    return pair.margin == 0;
  };
  if (loss.needs.reward_margin && std::ranges::all_of(pairs, no_margin)) {
    return InvalidArgument("data.train: no pair has a margin; loss " +
                           config.loss(0).name() + " learns them");
  }
  ALIGN_ASSIGN_OR_RETURN(RunReference reference,
                         ReferenceOf(config, place, *run.model));
  std::shared_ptr<losses::RunningMoments> moments;
  if (loss.needs.running_mean) {
    moments = std::make_shared<losses::RunningMoments>();
  }
  CheckFirstMargins(config, loss, run);
  return SetCoupledFeed(
      config, LoaderOptionsOf(config), std::move(pairs), reference.score,
      train::PreferenceObjective(*run.model, std::move(reference.log_probs),
                                 loss, {.moments = moments.get()}),
      moments, run);
}

absl::Status PrepareUnpaired(const pb::TrainConfig& config,
                             const RunPlace& place,
                             std::vector<UnpairedExample> replies,
                             TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(const train::NamedUnpairedLoss loss,
                         UnpairedLossOf(config));
  ALIGN_RETURN_IF_ERROR(EstimateRatios(config, *run.model, replies));
  ALIGN_RETURN_IF_ERROR(CheckDensityRatios(replies, loss.needs));
  LoaderOptions options = LoaderOptionsOf(config);
  options.mismatch_group = MismatchGroup(config, loss);
  ALIGN_ASSIGN_OR_RETURN(RunReference reference,
                         ReferenceOf(config, place, *run.model));
  std::shared_ptr<losses::RunningMoments> moments;
  if (loss.needs.moments) moments = std::make_shared<losses::RunningMoments>();
  return SetCoupledFeed(
      config, options, std::move(replies), reference.score,
      train::UnpairedObjective(*run.model, std::move(reference.log_probs), loss,
                               {.moments = moments.get()}),
      moments, run);
}

// Of sft, by loss.name, which ResolveLosses checked.
absl::StatusOr<losses::TokenLoss> TokenLossOf(const pb::TrainConfig& config) {
  const losses::TokenLossOrError made = losses::MakeTokenLoss(
      config.loss(0).name(), ValuesOf(config.loss(0).options()));
  if (!made.ok()) return InvalidArgument(made.error);
  return made.loss;
}

}  // namespace

absl::StatusOr<train::NamedPairLoss> PairLossOf(const pb::TrainConfig& config) {
  std::vector<losses::PairLossTerm> terms;
  for (const pb::LossConfig& loss : config.loss()) {
    terms.push_back({.name = loss.name(),
                     .values = ValuesOf(loss.options()),
                     .weight = loss.has_weight() ? loss.weight() : 1});
  }
  return train::MakePairLoss(terms);
}

absl::Status CheckLossKeys(const pb::TrainConfig& config) {
  const std::string& method = config.method();
  const bool mixes =
      method == "preference" || method == "online_dpo" || method == "xpo";
  if (method == "ppo" && config.loss_size() > 0) {
    return InvalidArgument("loss: not a key of method 'ppo'");
  }
  if (!mixes && config.loss_size() > 1) {
    return InvalidArgument("loss: " + std::to_string(config.loss_size()) +
                           " of them; method '" + method + "' takes one");
  }
  for (const pb::LossConfig& loss : config.loss()) {
    if (!mixes && loss.has_weight()) {
      return InvalidArgument("loss.weight: not a key of method '" + method +
                             "', only of those that learn from pairs");
    }
    if (config.loss_size() > 1 && !loss.has_name()) {
      return InvalidArgument("loss.name: expected in each of several losses");
    }
  }
  return absl::OkStatus();
}

absl::Status ResolveLosses(pb::TrainConfig& config) {
  const std::string& method = config.method();
  ALIGN_RETURN_IF_ERROR(CheckEmbedderKey(config, method == "unpaired"));
  if (method != "sft" && method != "reward" && method != "preference" &&
      method != "unpaired") {
    return absl::OkStatus();
  }
  pb::LossConfig* first =
      config.loss_size() > 0 ? config.mutable_loss(0) : config.add_loss();
  if (method == "sft") {
    if (!first->has_name()) first->set_name(losses::TokenLosses()[0].name);
    return TokenLossOf(config).status();
  }
  if (method == "reward") {
    if (!first->has_name()) first->set_name(losses::RewardLosses()[0].name);
    return RewardLossOf(config).status();
  }
  const bool pairs = method == "preference";
  if (!first->has_name()) first->set_name(pairs ? "sigmoid" : "kto");
  if (pairs) {
    ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss, PairLossOf(config));
    if (!loss.needs.policy_won) return absl::OkStatus();
    return InvalidArgument(
        "loss xpo: learns from samples of policy and reference; expected "
        "method 'xpo'");
  }
  ALIGN_ASSIGN_OR_RETURN(const train::NamedUnpairedLoss loss,
                         UnpairedLossOf(config));
  ALIGN_RETURN_IF_ERROR(CheckEmbedderKey(config, loss.needs.density_ratio));
  if (loss.needs.mismatched && MismatchGroup(config, loss) < 2) {
    return InvalidArgument(
        "data.batch_size: " + std::to_string(config.data().batch_size()) +
        "; loss " + first->name() +
        " compares replies with those to other prompts and expects at least 2 "
        "at a time");
  }
  return absl::OkStatus();
}

bool HoldsReference(const pb::TrainConfig& config) {
  bool needed = false;
  if (config.method() == "preference") {
    const auto loss = PairLossOf(config);
    needed = loss.ok() && loss->needs.reference;
  } else if (config.method() == "unpaired") {
    const auto loss = UnpairedLossOf(config);
    needed = loss.ok() && loss->needs.reference;
  } else {
    return false;
  }
  return needed || config.has_reference();
}

absl::Status PrepareFeed(const pb::TrainConfig& config, const RunPlace& place,
                         TrainRun& run) {
  if (config.method() == "sft") {
    ALIGN_ASSIGN_OR_RETURN(std::vector<SftExample> examples,
                           ReadSftExamples(config.data(), *run.tokenizer));
    ALIGN_ASSIGN_OR_RETURN(const losses::TokenLoss loss, TokenLossOf(config));
    return SetPlainFeed<SftBatch>(
        config, std::move(examples),
        train::SftObjective(*run.model, {.loss = loss}), run);
  }
  if (config.method() == "unpaired") {
    ALIGN_ASSIGN_OR_RETURN(std::vector<UnpairedExample> replies,
                           ReadUnpairedExamples(config.data(), *run.tokenizer));
    return PrepareUnpaired(config, place, std::move(replies), run);
  }
  ALIGN_ASSIGN_OR_RETURN(std::vector<PairExample> pairs,
                         ReadPairExamples(config.data(), *run.tokenizer));
  if (config.method() == "preference") {
    return PreparePairs(config, place, std::move(pairs), run);
  }
  ALIGN_ASSIGN_OR_RETURN(losses::RewardLoss loss, RewardLossOf(config));
  return SetPlainFeed<PreferenceBatch>(
      config, std::move(pairs),
      train::RewardObjective(*run.model, std::move(loss)), run);
}

}  // namespace align
