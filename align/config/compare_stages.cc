#include "align/config/compare_stages.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "align/base/files.h"
#include "align/base/memory.h"
#include "align/config/compare_plan.h"
#include "align/data/import.h"
#include "align/data/records.h"
#include "align/train/sft_objective.h"
#include "proto/records.pb.h"

namespace align {
namespace {

// Runs of newlines as one, none at the start.
std::string CollapseNewlines(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\n' && (out.empty() || out.back() == '\n')) continue;
    out += c;
  }
  return out;
}

absl::StatusOr<std::vector<std::vector<int32_t>>> BeginningsOfTexts(
    CompareContext& context, int64_t count, int64_t length) {
  const pb::PromptsConfig& config = context.config().prompts();
  const std::string records_path = context.directory() + "/texts.tfrecord";
  const std::string inputs[] = {config.texts()};
  ALIGN_RETURN_IF_ERROR(Import(inputs, records_path, ImportOptions()).status());
  ALIGN_ASSIGN_OR_RETURN(const std::vector<pb::Record> records,
                         ReadRecords(records_path));
  std::vector<std::vector<int32_t>> prompts;
  std::set<std::vector<int32_t>> seen;
  for (int64_t i :
       context.rng().Permutation(static_cast<int64_t>(records.size()))) {
    if (static_cast<int64_t>(prompts.size()) == count) break;
    std::string text = records[i].text().text();
    if (config.collapse_newlines()) text = CollapseNewlines(text);
    std::vector<int32_t> ids = context.tokenizer().Encode(text);
    if (context.tokenizer().bos_id()) {
      ids.insert(ids.begin(), *context.tokenizer().bos_id());
    }
    if (static_cast<int64_t>(ids.size()) < length) continue;
    ids.resize(length);
    if (seen.insert(ids).second) prompts.push_back(std::move(ids));
  }
  return prompts;
}

// Openings that the base policy itself samples after BOS.
absl::StatusOr<std::vector<std::vector<int32_t>>> SampledOpenings(
    CompareContext& context, int64_t count, int64_t length) {
  if (!context.tokenizer().bos_id() || length < 2) {
    return InvalidArgument(
        "prompts.sampled: expected a tokenizer with BOS and prompt_tokens of "
        "at least 2");
  }
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> base,
                         context.Load(context.config().base().path(),
                                      context.config().base().base()));
  const std::vector<std::vector<int32_t>> start = {
      {*context.tokenizer().bos_id()}};
  samplers::SamplingOptions options = context.sampling();
  options.max_new_tokens = length - 1;
  // Some repeat and some end early: ask for a few more than needed.
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> openings,
      samplers::Generate(*base, start, count + count / 2 + 16, options,
                         context.rng(), {}, context.stop()));
  std::vector<std::vector<int32_t>> prompts;
  std::set<std::vector<int32_t>> seen;
  for (const samplers::Completion& opening : openings) {
    if (opening.stopped || static_cast<int64_t>(prompts.size()) == count) {
      continue;
    }
    std::vector<int32_t> ids = start[0];
    ids.insert(ids.end(), opening.tokens.begin(), opening.tokens.end());
    if (seen.insert(ids).second) prompts.push_back(std::move(ids));
  }
  return prompts;
}

absl::Status Dispatch(CompareContext& context) {
  const std::string& stage = context.stage();
  if (stage == "prompts") return MakePrompts(context);
  if (stage == "sft") return TrainSft(context);
  if (stage == "pairs") return MakePairs(context);
  if (stage == "reward_model") return TrainRewardModel(context);
  if (stage == "dpo") return TrainDpo(context);
  if (stage == "rso") return TrainRso(context);
  if (stage == "ppo") return TrainPpo(context);
  if (stage.starts_with("eval_")) return Evaluate(context, stage.substr(5));
  return InvalidArgument("no stage " + stage);
}

}  // namespace

absl::Status RunCompareStage(CompareContext& context, const std::string& key) {
  const auto start = std::chrono::steady_clock::now();
  ALIGN_RETURN_IF_ERROR(Annotate(Dispatch(context), context.stage()));
  pb::StageRecord& record = context.record();
  record.set_name(context.stage());
  record.set_key(key);
  record.set_seconds(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count());
  record.set_peak_rss_mb(static_cast<double>(PeakResidentBytes()) / 1e6);
  return WriteStageRecord(context.out(), record);
}

// Writes train.binpb and eval.binpb: prompts without replies, none in both.
absl::Status MakePrompts(CompareContext& context) {
  const pb::PromptsConfig& config = context.config().prompts();
  const int64_t train = config.train(), eval = config.eval();
  const int64_t length = config.prompt_tokens();
  if (train < 1 || eval < 2 || length < 1) {
    return InvalidArgument(
        "prompts: expected train >= 1, eval >= 2 and prompt_tokens >= 1");
  }
  ALIGN_ASSIGN_OR_RETURN(
      const auto prompts,
      config.sampled() ? SampledOpenings(context, train + eval, length)
                       : BeginningsOfTexts(context, train + eval, length));
  if (static_cast<int64_t>(prompts.size()) < train + eval) {
    return InvalidArgument("found " + std::to_string(prompts.size()) +
                           " different prompts of " + std::to_string(length) +
                           " tokens; expected " + std::to_string(train + eval));
  }
  pb::Samples parts[2];
  for (int64_t i = 0; i < train + eval; ++i) {
    pb::SampledPrompt* prompt = parts[i < train ? 0 : 1].add_prompts();
    prompt->set_number(i);
    prompt->mutable_prompt()->Add(prompts[i].begin(), prompts[i].end());
  }
  ALIGN_RETURN_IF_ERROR(context.Write("train.binpb", parts[0]));
  return context.Write("eval.binpb", parts[1]);
}

// Writes model/, when SFT is on: the base trained on the records of sft.data,
// cut to the model's positions.
absl::Status TrainSft(CompareContext& context) {
  context.record().set_models_held(1);
  const pb::CompareConfig::Sft& config = context.config().sft();
  if (!config.enabled()) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> policy,
                         context.Load(context.config().base().path(),
                                      context.config().base().base()));
  policy->params().EnableGradients();
  TokenizeOptions options;
  const int64_t positions = policy->config().max_position_embeddings;
  options.max_length = std::min(options.max_length, positions);
  options.block_length = std::min(options.block_length, positions);
  std::vector<SftExample> examples;
  for (const std::string& path : config.data()) {
    ALIGN_ASSIGN_OR_RETURN(const std::vector<pb::Record> records,
                           ReadRecords(path));
    const bool text = !records.empty() && records[0].has_text();
    ALIGN_ASSIGN_OR_RETURN(
        Tokenized<SftExample> tokenized,
        text ? TokenizeTextBlocks(records, context.tokenizer(), options)
             : TokenizeSft(records, context.tokenizer(), options));
    std::ranges::move(tokenized.examples, std::back_inserter(examples));
  }
  ALIGN_ASSIGN_OR_RETURN(
      SftLoader loader,
      SftLoader::Create(
          std::move(examples),
          {.batch_size = config.training().has_batch_size()
                             ? config.training().batch_size()
                             : 8,
           .epochs = 0,
           .seed = static_cast<uint64_t>(context.config().seed())}));
  ALIGN_RETURN_IF_ERROR(
      context.Train(config.training(),
                    train::Bind<SftBatch>(
                        [&loader]() -> absl::StatusOr<std::optional<SftBatch>> {
                          return loader.Next();
                        },
                        train::SftObjective(*policy)),
                    {&policy->params()}));
  return SaveModel(*policy, context.directory() + "/model",
                   TokenizerDirectory(context.config()));
}

}  // namespace align
