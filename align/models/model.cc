#include "align/models/model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/base/log.h"
#include "align/models/checkpoint_reader.h"
#include "align/models/model_cache.h"
#include "align/models/model_family.h"
#include "align/models/peft.h"
#include "align/models/rope_scaling.h"
#include "align/models/tensor_spec.h"

namespace align {
namespace {

constexpr char kScoreWeight[] = "score.weight";

std::vector<ParamSpec> SpecsOf(const ModelConfig& config) {
  std::vector<ParamSpec> specs;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    specs.push_back({.name = spec.name, .shape = spec.shape});
  }
  return specs;
}

double InitialDeviation(const ModelConfig& config, const ParamSpec& spec) {
  constexpr double kInitializerRange = 0.02;  // transformers' LlamaConfig
  return spec.name == kScoreWeight
             ? 1 / std::sqrt(static_cast<double>(config.hidden_size) + 1)
             : kInitializerRange;
}

void DrawParameter(const ModelConfig& config, const Rng& rng, size_t param,
                   ParamStore& params) {
  const ParamSpec& spec = params.specs()[param];
  const std::span<float> values = params.values(param);
  if (spec.shape.size() == 1) {
    const bool bias = spec.name.ends_with("bias");
    std::fill(values.begin(), values.end(),
              bias ? 0.0f : FamilyOf(config).norm_start);
    return;
  }
  const double deviation = InitialDeviation(config, spec);
  Rng stream = rng.Fork(spec.name);
  for (float& v : values) v = static_cast<float>(deviation * stream.Normal());
}

// A model of `config` with the tensors of a checkpoint that fits `found`; what
// only `config` has, a new head, stays zero. Nothing is allocated before the
// checkpoint is known to fit.
absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& directory,
                                            const ModelConfig& found,
                                            const ModelConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(const CheckpointReader reader,
                         CheckpointReader::Open(directory));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<std::string> unused,
                         CheckTensors(found, reader));
  for (const std::string& name : unused) {
    LogInfo(directory + ": tensor " + name + " is not used by " +
            std::string(ArchitectureName(found.architecture)));
  }
  std::unique_ptr<Model> model = Model::MakeEmpty(config);
  ParamStore& params = model->params();
  for (size_t i = 0; i < params.specs().size(); ++i) {
    const TensorInfo* info = FindTensor(config, reader, params.specs()[i].name);
    if (info == nullptr) continue;
    ALIGN_RETURN_IF_ERROR(Annotate(CopyToFloat(*info, params.values(i)),
                                   directory + ": " + info->name));
  }
  return model;
}

}  // namespace

Model::Model(ModelConfig config) : config_(std::move(config)) {}

std::unique_ptr<Model> Model::MakeEmpty(const ModelConfig& config) {
  std::unique_ptr<Model> model = FamilyOf(config).make(config);
  model->own_params_ = std::make_unique<ParamStore>(SpecsOf(config));
  model->params_ = model->own_params_.get();
  return model;
}

void Model::SetAdapters(std::unique_ptr<LoraAdapters> adapters) {
  ALIGN_CHECK(!params_->trainable()) << "[Model] adapters need a frozen base";
  adapters_ = std::move(adapters);
}

ParamStore& Model::trained() {
  return adapters_ != nullptr ? adapters_->params() : *params_;
}

std::unique_ptr<Model> Model::WithoutAdapters() const {
  std::unique_ptr<Model> model = FamilyOf(config_).make(config_);
  model->params_ = params_;
  return model;
}

KvCache Model::MakeCache(CacheMode mode) const {
  return CacheOf(config_, mode, params_->precision());
}

LogitHead Model::Head() const {
  if (adapters_ != nullptr && adapters_->Whole(kScoreWeight) != nullptr) {
    return *adapters_->Whole(kScoreWeight);
  }
  if (params_->Has(kScoreWeight)) return params_->Get(kScoreWeight);
  const ModelFamily& family = FamilyOf(config_);
  const std::string_view name =
      config_.tie_word_embeddings ? family.embedding : family.head;
  return LogitHead(params_->Get(std::string(name)), config_.logit_soft_cap);
}

absl::Status Model::CheckTokens(std::span<const int32_t> tokens,
                                const Segments& segments) const {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= config_.vocab_size) {
      return InvalidArgument("token " + std::to_string(i) + ": id " +
                             std::to_string(tokens[i]) + "; expected 0 to " +
                             std::to_string(config_.vocab_size - 1));
    }
  }
  const PositionLimit limit = LimitOfPositions(config_);
  for (const Segment& s : segments.list()) {
    if (s.position + s.length > limit.positions) {
      return InvalidArgument(
          "sequence of " + std::to_string(s.position + s.length) +
          " tokens; the model has " + std::to_string(limit.positions) +
          " positions" + limit.reason);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> CreateModel(const ModelConfig& config,
                                                   const Rng& rng) {
  ALIGN_RETURN_IF_ERROR(ValidateConfig(config));
  std::unique_ptr<Model> model = Model::MakeEmpty(config);
  for (size_t i = 0; i < model->params().specs().size(); ++i) {
    DrawParameter(config, rng, i, model->params());
  }
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& directory,
                                                 const std::string& base) {
  if (IsAdapterDirectory(directory)) {
    ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                           LoadAdaptedModel(directory, base));
    MergeAdapters(*model);
    return model;
  }
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  return Load(directory, config, config);
}

absl::StatusOr<std::unique_ptr<Model>> LoadRewardModel(
    const std::string& directory, const Rng& rng, const std::string& base) {
  const bool adapted = IsAdapterDirectory(directory);
  std::string trunk = directory;
  if (adapted) {
    ALIGN_ASSIGN_OR_RETURN(trunk, BaseDirectory(directory, base));
  }
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig found, ReadModelConfig(trunk));
  ModelConfig config = found;
  if (!found.classifier()) config.num_labels = 1;
  config.architecture.head = HeadKind::kSequenceClassifier;
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                         Load(trunk, found, config));
  if (adapted) {
    ALIGN_RETURN_IF_ERROR(LoadAdapters(directory, *model));
    const bool scores = model->adapters()->Whole(kScoreWeight) != nullptr;
    MergeAdapters(*model);
    if (scores) return model;
  }
  if (found.classifier()) return model;
  ParamStore& params = model->params();
  for (size_t i = 0; i < params.specs().size(); ++i) {
    if (params.specs()[i].name == kScoreWeight) {
      DrawParameter(config, rng, i, params);
    }
  }
  return model;
}

std::unique_ptr<Model> CloneModel(const Model& model) {
  std::unique_ptr<Model> copy = Model::MakeEmpty(model.config());
  copy->params().SetPrecision(model.params().precision());
  copy->params().CopyValuesFrom(model.params());
  if (model.adapters() != nullptr) copy->SetAdapters(model.adapters()->Copy());
  return copy;
}

absl::StatusOr<WeightFormat> ParseWeightFormat(std::string_view name) {
  if (name == "f32") return WeightFormat::kF32;
  if (name == "f16") return WeightFormat::kF16;
  if (name == "bf16") return WeightFormat::kBf16;
  return InvalidArgument("'" + std::string(name) +
                         "'; f32, f16 or bf16 expected");
}

absl::Status SaveModel(const Model& model, const std::string& directory,
                       const std::string& tokenizer_directory,
                       WeightFormat format, int64_t max_shard_bytes) {
  ALIGN_CHECK(model.adapters() == nullptr) << "[SaveModel] adapters not merged";
  ALIGN_RETURN_IF_ERROR(MakeDirectories(directory));
  const StoredDtype dtype = format == WeightFormat::kF32   ? StoredDtype::kF32
                            : format == WeightFormat::kF16 ? StoredDtype::kF16
                                                           : StoredDtype::kBF16;
  std::vector<TensorToWrite> tensors;
  for (const ParamSpec& spec : model.params().specs()) {
    tensors.push_back({.name = spec.name,
                       .shape = spec.shape,
                       .values = model.params().Get(spec.name).values()});
  }
  ALIGN_RETURN_IF_ERROR(WriteCheckpoint(directory, std::move(tensors),
                                        {.dtype = dtype}, max_shard_bytes));
  ALIGN_RETURN_IF_ERROR(WriteModelConfig(directory, model.config(), dtype));
  RemoveAdapterConfig(directory);
  if (!model.config().classifier()) {
    ALIGN_RETURN_IF_ERROR(WriteGenerationConfig(directory, model.config()));
  }
  if (tokenizer_directory.empty()) return absl::OkStatus();
  return CopyTokenizerFiles(tokenizer_directory, directory).status();
}

}  // namespace align
