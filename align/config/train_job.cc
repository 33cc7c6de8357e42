#include "align/config/train_job.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/base/log.h"
#include "align/base/profile.h"
#include "align/config/lora.h"
#include "align/config/parse.h"
#include "align/config/rollout_setup.h"
#include "align/config/run_events.h"
#include "align/config/settings.h"
#include "align/config/train_feeds.h"
#include "align/config/train_gkd.h"
#include "align/config/train_grpo.h"
#include "align/config/train_online.h"
#include "align/config/train_ppo.h"
#include "align/config/train_reference.h"
#include "align/config/train_run.h"
#include "align/dnnl/precision.h"
#include "align/models/memory_plan.h"
#include "align/models/model.h"
#include "align/models/recompute.h"
#include "align/text/tokenizer.h"
#include "align/train/checkpoint.h"
#include "align/train/metrics.h"
#include "losses/registry.h"
#include "proto/config.pb.h"

namespace align {
namespace {

// The default of an unset key; defaults stand here and nowhere else.
#define ALIGN_DEFAULT(message, name, value) \
  if (!(message)->has_##name()) (message)->set_##name(value)

absl::StatusOr<std::unique_ptr<Model>> MakeModel(const pb::TrainConfig& config,
                                                 const Tokenizer& tokenizer) {
  const Rng rng = Rng(config.loop().seed()).Fork("model");
  const bool reward = config.method() == "reward";
  if (!config.model().has_create()) return LoadTrained(config, rng);
  const pb::NewModel& create = config.model().create();
  ModelConfig shape;
  if (reward) shape.architecture.head = HeadKind::kSequenceClassifier;
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

absl::Status SetRouterLoss(const pb::TrainConfig& config, Model& model) {
  const double weight = config.router_aux_loss_coef();
  if (!(weight >= 0) || !std::isfinite(weight)) {
    return InvalidArgument("router_aux_loss_coef: " + std::to_string(weight) +
                           "; expected 0 or more");
  }
  if (weight > 0 && model.config().experts.routed == 0) {
    return InvalidArgument(
        "router_aux_loss_coef: " +
        std::string(ArchitectureName(model.config().architecture)) +
        " has no experts; expected 0");
  }
  model.set_router_loss_weight(weight);
  return absl::OkStatus();
}

absl::StatusOr<TrainRun> PrepareRun(const pb::TrainConfig& config,
                                    const std::string& out,
                                    const std::function<bool()>& stop) {
  const auto stage = ProfileScope::Stage("load");
  TrainRun run;
  ALIGN_ASSIGN_OR_RETURN(run.tokenizer, LoadTokenizer(TokenizerOf(config)));
  ALIGN_ASSIGN_OR_RETURN(run.model, MakeModel(config, *run.tokenizer));
  ALIGN_ASSIGN_OR_RETURN(const Precision precision,
                         ParsePrecision(config.precision()));
  for (const std::string& note : PrecisionNotes(precision)) LogWarning(note);
  run.model->params().SetPrecision(precision);
  SetRecomputeActivations(*run.model, config.recompute_activations());
  ALIGN_RETURN_IF_ERROR(SetRouterLoss(config, *run.model));
  if (config.method() == "ppo") {
    ALIGN_RETURN_IF_ERROR(PreparePpo(config, stop, run));
    return run;
  }
  if (config.method() == "grpo") {
    ALIGN_RETURN_IF_ERROR(PrepareGrpo(config, stop, run));
    return run;
  }
  if (config.method() == "gkd") {
    ALIGN_RETURN_IF_ERROR(PrepareGkd(config, stop, run));
    return run;
  }
  if (SamplesReplies(config)) {
    ALIGN_RETURN_IF_ERROR(PrepareOnline(config, stop, run));
    return run;
  }
  run.model->trained().EnableGradients();
  run.stores = {{.name = "policy", .store = &run.model->trained()}};
  ALIGN_RETURN_IF_ERROR(PrepareFeed(config, {.out = out, .stop = stop}, run));
  AddDropout(config, run);
  return run;
}

absl::StatusOr<int64_t> Resume(train::Checkpoints& checkpoints,
                               const std::string& config_hash, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(const std::optional<train::CheckpointState> state,
                         checkpoints.RestoreLatest(config_hash));
  if (!state) return 0;
  LogInfo("continuing after step " + std::to_string(state->step));
  ALIGN_RETURN_IF_ERROR(run.restore(*state));
  return state->step;
}

// Writes checkpoints after the steps that have one.
class CheckpointWriter {
 public:
  // `config`, `run` and `checkpoints` must outlive it.
  CheckpointWriter(const pb::TrainConfig& config, const TrainRun& run,
                   std::string config_hash, int64_t first,
                   train::Checkpoints& checkpoints)
      : config_(config),
        run_(run),
        config_hash_(std::move(config_hash)),
        checkpoints_(checkpoints),
        done_(first),
        saved_(first) {}

  // Takes note of a step; saves when one is due, at the first step from which
  // the run can be continued. With `stopping` that is now.
  absl::StatusOr<train::ObserverResult> After(int64_t step, bool stopping) {
    done_ = step;
    const int64_t every = config_.loop().checkpoint_every();
    due_ = due_ || stopping || step == config_.loop().steps() ||
           (every > 0 && step % every == 0);
    const bool resumable = !run_.resumable || run_.resumable();
    if (due_ && resumable) ALIGN_RETURN_IF_ERROR(Save());
    return train::ObserverResult{.stop = stopping && resumable};
  }

  // Saves what the steps so far led to, if the run can be continued there.
  absl::Status Save() {
    if (done_ == saved_ || (run_.resumable && !run_.resumable())) {
      return absl::OkStatus();
    }
    train::CheckpointState state;
    state.step = done_;
    state.config_hash = config_hash_;
    run_.save(state);
    ALIGN_RETURN_IF_ERROR(checkpoints_.Save(state));
    saved_ = done_;
    due_ = false;
    return absl::OkStatus();
  }

  int64_t saved() const { return saved_; }

 private:
  const pb::TrainConfig& config_;
  const TrainRun& run_;
  std::string config_hash_;
  train::Checkpoints& checkpoints_;
  int64_t done_, saved_;  // steps
  bool due_ = false;
};

absl::Status Train(const pb::TrainConfig& config, const std::string& out,
                   const std::function<bool()>& stop, TrainRun& run) {
  ALIGN_ASSIGN_OR_RETURN(
      const StepSettings settings,
      ReadOptimizer(config.optimizer(), config.loop().steps()));
  ALIGN_ASSIGN_OR_RETURN(train::LearningRateFactor factor,
                         train::MakeSchedule(settings.schedule));
  std::vector<ParamStore*> stores;
  for (const train::NamedStore& named : run.stores) {
    stores.push_back(named.store);
  }
  train::Optimizer optimizer(settings.optimizer, std::move(factor), stores);
  train::Checkpoints checkpoints(out + "/checkpoints",
                                 config.loop().keep_checkpoints(), run.stores,
                                 optimizer);
  const std::string hash = ContentHash(ConfigText(config));
  ALIGN_ASSIGN_OR_RETURN(const int64_t first, Resume(checkpoints, hash, run));
  CheckpointWriter writer(config, run, hash, first, checkpoints);
  ALIGN_ASSIGN_OR_RETURN(
      train::Observer metrics,
      train::MetricsFileObserver(out + "/metrics.jsonl", first,
                                 {.epoch = run.epoch}));
  ALIGN_ASSIGN_OR_RETURN(train::Observer events, RunEvents(out));
  const auto check = [&](const train::StepReport& report)
      -> absl::StatusOr<train::ObserverResult> {
    if (run.check_first_step && report.step == first + 1) {
      ALIGN_RETURN_IF_ERROR(run.check_first_step(report));
    }
    return train::ObserverResult();
  };
  const auto save = [&](const train::StepReport& report) {
    return writer.After(report.step, stop && stop());
  };
  const absl::StatusOr<train::RunResult> result = train::RunLoop(
      {.max_steps = config.loop().steps(),
       .accumulation = config.loop().accumulation(),
       .max_grad_norm = settings.max_grad_norm,
       .norm = settings.norm},
      run.micro_steps, stores, optimizer,
      {check, std::move(metrics), std::move(events),
       train::ProgressObserver(
           {.title = config.method(), .max_steps = config.loop().steps()},
           [](const std::string& line) { LogInfo(line); }),
       save},
      first);
  const bool cancelled = absl::IsCancelled(result.status());
  if (cancelled) ALIGN_RETURN_IF_ERROR(writer.Save());  // while sampling
  if (cancelled || (result.ok() && result->stopped)) {
    return Cancelled("stopped after step " + std::to_string(writer.saved()) +
                     "; run the same command again to continue");
  }
  return result.status();
}

}  // namespace

absl::Status ResolveTrainConfig(pb::TrainConfig& config) {
  const std::vector<std::string> methods = {
      "sft",  "reward", "preference", "unpaired", "ppo",
      "grpo", "gkd",    "online_dpo", "xpo",      "nash_md"};
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
  pb::LoopConfig* loop = config.mutable_loop();
  ALIGN_DEFAULT(loop, accumulation, 1);
  ALIGN_DEFAULT(loop, seed, 0);
  ALIGN_DEFAULT(loop, checkpoint_every, 0);
  ALIGN_DEFAULT(loop, keep_checkpoints, 2);
  ALIGN_DEFAULT(&config, weight_format, "f32");
  ALIGN_DEFAULT(&config, precision, "f32");
  ALIGN_ASSIGN_OR_RETURN(const Precision precision,
                         ParsePrecision(config.precision()));
  config.set_precision(PrecisionName(precision));
  ALIGN_RETURN_IF_ERROR(Annotate(
      ParseWeightFormat(config.weight_format()).status(), "weight_format"));
  ALIGN_RETURN_IF_ERROR(ResolveLora(config));
  ALIGN_RETURN_IF_ERROR(CheckLossKeys(config));
  ALIGN_RETURN_IF_ERROR(ResolvePpoConfig(config));
  ALIGN_RETURN_IF_ERROR(ResolveGrpoConfig(config));
  ALIGN_RETURN_IF_ERROR(ResolveGkdConfig(config));
  ALIGN_RETURN_IF_ERROR(ResolveOnlineConfig(config));
  if (!SamplesReplies(config)) {
    pb::DataConfig* data = config.mutable_data();
    ALIGN_DEFAULT(data, batch_size, 8);
    ALIGN_DEFAULT(data, max_length, 1024);
    ALIGN_DEFAULT(data, block_length, 256);
    ALIGN_DEFAULT(data, epochs, 0);
    ALIGN_DEFAULT(data, append_eos, true);
  }
  ALIGN_RETURN_IF_ERROR(ResolveLosses(config));
  ALIGN_RETURN_IF_ERROR(CheckReferenceKeys(config, HoldsReference(config)));
  return ReadOptimizer(config.optimizer(), config.loop().steps()).status();
}

namespace {

// Copies for products are kept by models that compute without gradients: those
// beside the trained one in bf16, and that one where it samples, or where its
// adapters are off for the reference.
void CountPackedCopies(const pb::TrainConfig& config, Precision precision,
                       std::vector<HeldModel>& held) {
  const bool bf16 = precision == Precision::kBf16;
  const bool samples = SamplesReplies(config) || config.method() == "gkd";
  for (HeldModel& model : held) {
    const bool policy = &model == &held.front();
    const bool shared = model.copies == 1 && HoldsReference(config);
    const bool keeps = policy ? samples || (bf16 && shared) : bf16;
    if (model.config && keeps) {
      model.packed_bytes = PackedBytes(*model.config, precision);
    }
  }
}

}  // namespace

absl::StatusOr<std::string> DescribeTrainJob(const pb::TrainConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                         LoadTokenizer(TokenizerOf(config)));
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                         MakeModel(config, *tokenizer));
  ALIGN_ASSIGN_OR_RETURN(const int64_t trained,
                         TrainedCopies(config.optimizer()));
  ALIGN_ASSIGN_OR_RETURN(
      const Precision precision,
      ParsePrecision(config.has_precision() ? config.precision() : "f32"));
  std::vector<HeldModel> held = HeldTrained(
      config.method() == "reward" ? "reward model" : "policy", *model, trained);
  if (HoldsReference(config)) {
    ALIGN_ASSIGN_OR_RETURN(held.emplace_back(),
                           HeldRunReference(config, *model));
  } else if (config.method() == "gkd") {
    ALIGN_ASSIGN_OR_RETURN(const std::vector<HeldModel> beside,
                           GkdModelsBeside(config));
    held.insert(held.end(), beside.begin(), beside.end());
  } else if (SamplesReplies(config)) {
    ALIGN_ASSIGN_OR_RETURN(
        const std::vector<HeldModel> beside,
        config.method() == "ppo"    ? PpoModelsBeside(config, *model)
        : config.method() == "grpo" ? GrpoModelsBeside(config, *model)
                                    : OnlineModelsBeside(config, *model));
    held.insert(held.end(), beside.begin(), beside.end());
  }
  CountPackedCopies(config, precision, held);
  return DescribeMemory(held);
}

absl::Status RunTrainJob(pb::TrainConfig config, const std::string& out,
                         const std::function<bool()>& stop) {
  ALIGN_RETURN_IF_ERROR(ResolveTrainConfig(config));
  ALIGN_RETURN_IF_ERROR(MakeDirectories(out));
  ALIGN_RETURN_IF_ERROR(
      WriteFileAtomically(out + "/config.textproto", ConfigText(config)));
  ALIGN_ASSIGN_OR_RETURN(TrainRun run, PrepareRun(config, out, stop));
  ALIGN_RETURN_IF_ERROR(Train(config, out, stop, run));
  const auto stage = ProfileScope::Stage("save");
  ALIGN_RETURN_IF_ERROR(SaveTrained(config, *run.model, out + "/model"));
  return run.save_beside ? run.save_beside(out) : absl::OkStatus();
}

#undef ALIGN_DEFAULT

}  // namespace align
