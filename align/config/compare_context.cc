#include "align/config/compare_context.h"

#include "align/base/files.h"
#include "align/base/log.h"
#include "align/config/compare_plan.h"
#include "align/config/run_events.h"
#include "align/config/settings.h"
#include "align/eval/lexicon_reward.h"
#include "align/train/metrics.h"
#include "align/train/optimizer.h"
#include "align/train/schedule.h"

namespace align {
std::vector<int32_t> Ids(
    const google::protobuf::RepeatedField<int32_t>& tokens) {
  return {tokens.begin(), tokens.end()};
}

CompareContext::CompareContext(const pb::CompareConfig& config, std::string out,
                               std::string stage, std::function<bool()> stop)
    : config_(config),
      out_(std::move(out)),
      stage_(std::move(stage)),
      stop_(std::move(stop)) {}

absl::StatusOr<std::unique_ptr<CompareContext>> CompareContext::Create(
    const pb::CompareConfig& config, std::string out, std::string stage,
    std::function<bool()> stop) {
  std::unique_ptr<CompareContext> context(new CompareContext(
      config, std::move(out), std::move(stage), std::move(stop)));
  ALIGN_ASSIGN_OR_RETURN(context->tokenizer_,
                         LoadTokenizer(TokenizerDirectory(config)));
  ALIGN_ASSIGN_OR_RETURN(context->sampling_, ReadSampling(config.sampling()));
  ALIGN_ASSIGN_OR_RETURN(context->precision_, ComparePrecision(config));
  context->sampling_.stop_ids = StopIds(*context->tokenizer_);
  if (config.gold().has_lexicon()) {
    ALIGN_ASSIGN_OR_RETURN(LexiconReward lexicon,
                           LexiconReward::Load(config.gold().lexicon()));
    context->judge_ =
        LexiconRewardFunction(std::move(lexicon), *context->tokenizer_);
  } else {
    ALIGN_ASSIGN_OR_RETURN(context->gold_model_,
                           LoadModel(config.gold().reward_model()));
    context->judge_ = train::RewardModelFunction(*context->gold_model_);
  }
  ALIGN_RETURN_IF_ERROR(MakeDirectories(context->directory()));
  return context;
}

std::string CompareContext::directory() const {
  return StageDirectory(out_, stage_);
}

absl::StatusOr<std::unique_ptr<Model>> CompareContext::Load(
    const std::string& directory, const std::string& base) const {
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                         LoadModel(directory, base));
  model->params().SetPrecision(precision_);
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> CompareContext::LoadSft() const {
  return Load(SftModelDirectory(config_, out_));
}

absl::StatusOr<std::unique_ptr<Model>> CompareContext::LoadTrainedRewardModel()
    const {
  return Load(StageDirectory(out_, "reward_model") + "/model");
}

absl::StatusOr<std::vector<double>> CompareContext::Judge(
    std::span<const std::vector<int32_t>> prompts,
    std::span<const std::vector<int32_t>> replies) const {
  ALIGN_ASSIGN_OR_RETURN(std::vector<double> scores, judge_(prompts, replies));
  ALIGN_RETURN_IF_ERROR(train::CheckRewards(scores, replies.size()));
  return scores;
}

absl::StatusOr<pb::Samples> CompareContext::Sample(const Model& policy,
                                                   const pb::Samples& prompts,
                                                   int64_t count,
                                                   const Rng& rng) {
  std::vector<std::vector<int32_t>> ids, asked, replies;
  std::vector<uint64_t> numbers;
  for (const pb::SampledPrompt& prompt : prompts.prompts()) {
    ids.push_back(Ids(prompt.prompt()));
    numbers.push_back(prompt.number());
    asked.insert(asked.end(), count, ids.back());
  }
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> completions,
      samplers::Generate(policy, ids, count, sampling_, rng, numbers, stop_));
  for (const samplers::Completion& c : completions) replies.push_back(c.tokens);
  ALIGN_ASSIGN_OR_RETURN(const std::vector<double> gold, Judge(asked, replies));
  pb::Samples samples;
  for (int p = 0; p < prompts.prompts_size(); ++p) {
    pb::SampledPrompt* out = samples.add_prompts();
    out->set_number(prompts.prompts(p).number());
    *out->mutable_prompt() = prompts.prompts(p).prompt();
    for (int64_t k = 0; k < count; ++k) {
      const samplers::Completion& completion = completions[p * count + k];
      pb::SampledReply* reply = out->add_replies();
      reply->mutable_tokens()->Add(completion.tokens.begin(),
                                   completion.tokens.end());
      reply->set_stopped(completion.stopped);
      double log_prob = 0;
      for (float x : completion.log_probs) log_prob += x;
      reply->set_log_prob(log_prob);
      reply->set_gold(gold[p * count + k]);
      record_.set_tokens_sampled(
          record_.tokens_sampled() +
          static_cast<int64_t>(completion.tokens.size()));
    }
  }
  return samples;
}

absl::StatusOr<pb::Samples> CompareContext::ReadSamples(
    const std::string& stage, const std::string& file) const {
  const std::string path = StageDirectory(out_, stage) + "/" + file;
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  pb::Samples samples;
  if (!samples.ParseFromString(bytes)) {
    return DataLoss(path + ": not a file of samples");
  }
  return samples;
}

absl::Status CompareContext::Write(
    const std::string& file, const google::protobuf::Message& message) const {
  return WriteFileAtomically(directory() + "/" + file,
                             message.SerializeAsString());
}

absl::Status CompareContext::Train(const pb::StageTraining& training,
                                   const train::MicroSteps& steps,
                                   std::vector<ParamStore*> stores,
                                   train::Observer check) {
  ALIGN_ASSIGN_OR_RETURN(const StepSettings settings,
                         ReadOptimizer(training.optimizer(), training.steps()));
  ALIGN_ASSIGN_OR_RETURN(train::LearningRateFactor factor,
                         train::MakeSchedule(settings.schedule));
  train::Optimizer optimizer(settings.optimizer, std::move(factor), stores);
  ALIGN_ASSIGN_OR_RETURN(
      train::Observer metrics,
      train::MetricsFileObserver(directory() + "/metrics.jsonl", 0));
  ALIGN_ASSIGN_OR_RETURN(train::Observer events, RunEvents(directory()));
  std::vector<train::Observer> observers;
  if (check) observers.push_back(std::move(check));
  observers.push_back(std::move(metrics));
  observers.push_back(std::move(events));
  observers.push_back(
      train::ProgressObserver({.title = stage_, .max_steps = training.steps()},
                              [](const std::string& line) { LogInfo(line); }));
  observers.push_back([this](const train::StepReport& report)
                          -> absl::StatusOr<train::ObserverResult> {
    const auto tokens = report.metrics.find("num_tokens");
    if (tokens != report.metrics.end()) {
      record_.set_tokens_trained(record_.tokens_trained() +
                                 static_cast<int64_t>(tokens->second));
    }
    if (stop_ && stop_()) return Cancelled("stopped");
    return train::ObserverResult();
  });
  return train::RunLoop(
             {.max_steps = training.steps(),
              .accumulation =
                  training.has_accumulation() ? training.accumulation() : 1,
              .max_grad_norm = settings.max_grad_norm,
              .norm = settings.norm},
             steps, std::move(stores), optimizer, observers)
      .status();
}

}  // namespace align
