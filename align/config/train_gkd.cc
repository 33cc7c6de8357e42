#include "align/config/train_gkd.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "align/config/loss_options.h"
#include "align/config/rollout_setup.h"
#include "align/config/settings.h"
#include "align/config/train_data.h"
#include "align/train/distillation_objective.h"
#include "align/train/distillation_source.h"
#include "proto/config.pb.h"

namespace align {
namespace {

// TRL's GKDConfig.
constexpr int64_t kMaxNewTokens = 128;
constexpr double kTemperature = 0.9;

bool Samples(const pb::GkdConfig& config) {
  return config.lmbda() > 0 || config.seq_kd();
}

absl::StatusOr<DivergenceOptions> LossOf(const pb::TrainConfig& config) {
  return train::MakeDistillationLoss(config.loss(0).name(),
                                     ValuesOf(config.loss(0).options()));
}

absl::Status CheckKeys(const pb::TrainConfig& config) {
  if (!config.gkd().has_teacher()) {
    return InvalidArgument(
        "gkd.teacher: expected the directory of the model that is imitated");
  }
  // Negated so that NaN fails.
  if (!(config.gkd().lmbda() >= 0 && config.gkd().lmbda() <= 1)) {
    return InvalidArgument(
        "gkd.lmbda: " + std::to_string(config.gkd().lmbda()) +
        "; expected a number in [0, 1], the share of steps "
        "that the policy samples for");
  }
  if (config.has_reference()) {
    return InvalidArgument(
        "reference: not a key of method 'gkd', which compares with "
        "gkd.teacher");
  }
  if (config.has_sampling() && !Samples(config.gkd())) {
    return InvalidArgument(
        "sampling: nothing is sampled; expected gkd.lmbda above 0 or "
        "gkd.seq_kd");
  }
  return absl::OkStatus();
}

// What an id means must be the same for both: as many ids, and, if the teacher
// has a tokenizer of its own, the same pieces.
absl::Status CheckVocabulary(const std::string& directory, const Model& teacher,
                             const Model& student, const Tokenizer& tokenizer) {
  const std::string where = "gkd.teacher: " + directory;
  const int64_t ids = student.config().vocab_size;
  if (teacher.config().architecture.head !=
          student.config().architecture.head ||
      teacher.config().vocab_size != ids) {
    return InvalidArgument(
        where + " has " + std::to_string(teacher.config().vocab_size) +
        " ids; expected a language model of the student's " +
        std::to_string(ids) + ", because distributions are compared id by id");
  }
  const auto own = LoadTokenizer(directory);
  if (absl::IsNotFound(own.status())) return absl::OkStatus();
  if (!own.ok()) return Annotate(own.status(), "gkd.teacher");
  if (tokenizer.vocab_size() != (*own)->vocab_size()) {
    return InvalidArgument(where + " has a tokenizer of " +
                           std::to_string((*own)->vocab_size()) +
                           " pieces; expected the student's " +
                           std::to_string(tokenizer.vocab_size()));
  }
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if ((*own)->PieceName(id) == tokenizer.PieceName(id)) continue;
    return InvalidArgument(where + ": id " + std::to_string(id) + " is '" +
                           (*own)->PieceName(id) + "'; expected '" +
                           tokenizer.PieceName(id) +
                           "' as in the student's tokenizer");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> LoadTeacher(
    const pb::TrainConfig& config, const TrainRun& run) {
  const std::string& directory = config.gkd().teacher();
  absl::StatusOr<std::unique_ptr<Model>> teacher = LoadModel(directory);
  if (!teacher.ok()) return Annotate(teacher.status(), "gkd.teacher");
  ALIGN_RETURN_IF_ERROR(
      CheckVocabulary(directory, **teacher, *run.model, *run.tokenizer));
  (*teacher)->params().SetPrecision(run.model->params().precision());
  return teacher;
}

// Whether the longest prompt and its sampled reply fit into both models.
absl::Status CheckRoom(const pb::TrainConfig& config,
                       const std::vector<SftExample>& examples,
                       const Model& student, const Model& teacher) {
  if (!Samples(config.gkd())) return absl::OkStatus();
  size_t longest = 0;
  for (const SftExample& example : examples) {
    longest = std::max(longest, example.prompt.size());
  }
  return CheckPromptRoom(config, static_cast<int64_t>(longest),
                         std::min(student.config().max_position_embeddings,
                                  teacher.config().max_position_embeddings));
}

absl::StatusOr<train::DistillationSourceOptions> SourceOptions(
    const pb::TrainConfig& config, const TrainRun& run) {
  train::DistillationSourceOptions options = {
      .loader = {.batch_size = config.data().batch_size(),
                 .epochs = config.data().epochs(),
                 .seed = static_cast<uint64_t>(config.loop().seed())},
      .accumulation = config.loop().accumulation(),
      .lmbda = config.gkd().lmbda(),
      .seq_kd = config.gkd().seq_kd()};
  if (!Samples(config.gkd())) return options;
  ALIGN_ASSIGN_OR_RETURN(options.sampling, ReadSampling(config.sampling()));
  options.sampling.stop_ids = StopIds(*run.tokenizer);
  return options;
}

// How the place of `source` is saved and found again.
void SetPlace(const std::shared_ptr<train::DistillationSource>& source,
              TrainRun& run) {
  run.epoch = [source] { return source->epoch(); };
  run.save = [source](train::CheckpointState& state) {
    const train::DistillationState place = source->state();
    state.positions = {{"epoch", place.position.epoch},
                       {"index", place.position.index},
                       {"batches", place.batches}};
  };
  run.restore = [source](const train::CheckpointState& state) {
    return source->set_state(
        {.position = {.epoch = state.positions.at("epoch"),
                      .index = state.positions.at("index")},
         .batches = state.positions.at("batches")});
  };
}

}  // namespace

absl::Status ResolveGkdConfig(pb::TrainConfig& config) {
  if (config.method() != "gkd") {
    if (!config.has_gkd()) return absl::OkStatus();
    return InvalidArgument("gkd: not a key of method '" + config.method() +
                           "', only of 'gkd'");
  }
  const train::DistillationSourceOptions defaults;
  pb::GkdConfig* gkd = config.mutable_gkd();
  if (!gkd->has_lmbda()) gkd->set_lmbda(defaults.lmbda);
  if (!gkd->has_seq_kd()) gkd->set_seq_kd(defaults.seq_kd);
  ALIGN_RETURN_IF_ERROR(CheckKeys(config));
  pb::LossConfig* loss =
      config.loss_size() > 0 ? config.mutable_loss(0) : config.add_loss();
  if (!loss->has_name()) loss->set_name("jsd");
  const absl::Status made = LossOf(config).status();
  if (!made.ok()) return Annotate(made, "loss");
  if (!Samples(*gkd)) return absl::OkStatus();
  pb::SamplingConfig* sampling = config.mutable_sampling();
  if (!sampling->has_max_new_tokens()) {
    sampling->set_max_new_tokens(kMaxNewTokens);
  }
  if (!sampling->has_temperature()) sampling->set_temperature(kTemperature);
  FillDefaults(*sampling);
  return ReadSampling(*sampling).status();
}

absl::Status PrepareGkd(const pb::TrainConfig& config,
                        std::function<bool()> stop, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(const DivergenceOptions loss, LossOf(config));
  ALIGN_ASSIGN_OR_RETURN(
      std::vector<SftExample> examples,
      ReadDistillationExamples(config.data(), *run.tokenizer));
  ALIGN_ASSIGN_OR_RETURN(std::shared_ptr<Model> teacher,
                         LoadTeacher(config, run));
  ALIGN_RETURN_IF_ERROR(CheckRoom(config, examples, *run.model, *teacher));
  ALIGN_ASSIGN_OR_RETURN(const train::DistillationSourceOptions options,
                         SourceOptions(config, run));
  auto made = train::DistillationSource::Create(
      std::move(examples), *run.model, *teacher, options,
      Rng(config.loop().seed()).Fork("gkd"), std::move(stop));
  if (!made.ok()) return Annotate(made.status(), "data.train");
  const std::shared_ptr<train::DistillationSource> source = *std::move(made);
  run.model->trained().EnableGradients();
  run.stores = {{.name = "policy", .store = &run.model->trained()}};
  run.micro_steps = train::Bind<train::DistillationBatch>(
      [source, teacher] { return source->Next(); },
      train::DistillationObjective(*run.model, *teacher, loss));
  SetPlace(source, run);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<HeldModel>> GkdModelsBeside(
    const pb::TrainConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(
      HeldModel teacher,
      HeldFromDirectory("teacher", config.gkd().teacher(), 1));
  return std::vector<HeldModel>{std::move(teacher)};
}

}  // namespace align
