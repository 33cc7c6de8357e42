#include "bench/dpo_vs_ppo/stages.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/data/loader.h"
#include "align/data/records.h"
#include "align/eval/lexicon_reward.h"
#include "align/eval/policy_eval.h"
#include "align/text/tokenizer.h"
#include "align/train/ppo_objective.h"
#include "align/train/ppo_rollout.h"
#include "align/train/preference_objective.h"
#include "align/train/reward_objective.h"
#include "proto/compare.pb.h"
#include "proto/records.pb.h"

namespace align::bench {
namespace {

using Tokens = std::vector<int32_t>;
using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

int64_t Count(double setting) { return static_cast<int64_t>(setting); }

Rng RngOf(const Settings& settings, const char* purpose) {
  return Rng(static_cast<uint64_t>(settings.seed)).Fork(purpose);
}

// The judge, with what it needs.
struct Gold {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Model> model;
  train::RewardFunction reward;
};

absl::StatusOr<Gold> MakeGold(const Settings& settings) {
  Gold gold;
  if (settings.gold == "even") {
    const double length = settings.reply_tokens;
    gold.reward = train::RewardByReply([length](const Tokens& reply) {
      double even = 0;
      for (int32_t token : reply) even += token % 2 == 0 ? 1 : 0;
      return even / length;
    });
  } else if (settings.gold.ends_with(".txt")) {
    ALIGN_ASSIGN_OR_RETURN(LexiconReward lexicon,
                           LexiconReward::Load(settings.gold));
    ALIGN_ASSIGN_OR_RETURN(gold.tokenizer, LoadTokenizer(settings.model));
    gold.reward = train::RewardByReply(
        [lexicon = std::move(lexicon),
         tokenizer = gold.tokenizer.get()](const Tokens& reply) {
          return lexicon.Score(tokenizer->DecodeContinuation(reply));
        });
  } else {
    ALIGN_ASSIGN_OR_RETURN(gold.model, LoadModel(settings.gold));
    gold.reward = train::RewardModelFunction(*gold.model);
  }
  return gold;
}

samplers::SamplingOptions Sampling(const Settings& settings,
                                   const ModelConfig& config) {
  samplers::SamplingOptions sampling{.max_new_tokens =
                                         Count(settings.reply_tokens)};
  sampling.stop_ids = config.eos_token_ids;
  // A model that was trained on a stream of texts begins the next one instead.
  if (config.bos_token_id) sampling.stop_ids.push_back(*config.bos_token_id);
  return sampling;
}

// Those of a record file, or openings that the policy writes itself.
absl::StatusOr<std::vector<Tokens>> Prompts(const Settings& settings,
                                            const Model& policy,
                                            int64_t count) {
  std::vector<Tokens> prompts;
  if (!settings.prompts_file.empty()) {
    ALIGN_ASSIGN_OR_RETURN(const std::vector<pb::Record> records,
                           ReadRecords(settings.prompts_file));
    ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                           LoadTokenizer(settings.model));
    ALIGN_ASSIGN_OR_RETURN(auto read, TokenizePrompts(records, *tokenizer, {}));
    for (PromptExample& example : read.examples) {
      prompts.push_back(std::move(example.prompt));
    }
    if (std::ssize(prompts) < count) {
      return InvalidArgument(
          settings.prompts_file + ": " + std::to_string(prompts.size()) +
          " prompts; expected at least " + std::to_string(count));
    }
    prompts.resize(count);
    return prompts;
  }
  const Tokens start = {policy.config().bos_token_id.value_or(0)};
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> openings,
      samplers::Generate(policy, {&start, 1}, count,
                         {.max_new_tokens = Count(settings.prompt_tokens)},
                         RngOf(settings, "openings")));
  for (const samplers::Completion& opening : openings) {
    prompts.push_back(start);
    prompts.back().insert(prompts.back().end(), opening.tokens.begin(),
                          opening.tokens.end());
  }
  return prompts;
}

std::string PromptsPath(const Settings& s) { return s.work + "/prompts.binpb"; }
std::string PairsPath(const Settings& s) { return s.work + "/pairs.binpb"; }

void AddTokens(const Tokens& tokens,
               google::protobuf::RepeatedField<int32_t>* field) {
  field->Add(tokens.begin(), tokens.end());
}
Tokens ToTokens(const google::protobuf::RepeatedField<int32_t>& field) {
  return {field.begin(), field.end()};
}

// Training prompts first, then the held-out ones.
struct SplitPrompts {
  std::vector<Tokens> train, held_out;
};
absl::StatusOr<SplitPrompts> ReadPrompts(const Settings& settings) {
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes,
                         ReadFile(PromptsPath(settings)));
  pb::Samples samples;
  if (!samples.ParseFromString(bytes)) return DataLoss("prompts.binpb");
  SplitPrompts split;
  for (const pb::SampledPrompt& prompt : samples.prompts()) {
    const bool training = std::ssize(split.train) < Count(settings.prompts);
    (training ? split.train : split.held_out)
        .push_back(ToTokens(prompt.prompt()));
  }
  return split;
}

absl::StatusOr<PairLoader> ReadPairs(const Settings& settings) {
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes,
                         ReadFile(PairsPath(settings)));
  pb::TokenPairs pairs;
  if (!pairs.ParseFromString(bytes)) return DataLoss("pairs.binpb");
  std::vector<PairExample> examples;
  for (const pb::TokenPair& pair : pairs.pairs()) {
    examples.push_back({.prompt = ToTokens(pair.prompt()),
                        .chosen = ToTokens(pair.chosen()),
                        .rejected = ToTokens(pair.rejected()),
                        .margin = 0,
                        .id = "#" + std::to_string(examples.size())});
  }
  return PairLoader::Create(std::move(examples),
                            {.batch_size = Count(settings.batch_pairs),
                             .epochs = 0,
                             .seed = static_cast<uint64_t>(settings.seed)});
}

// Of every two replies to a prompt the one with more gold reward is preferred.
pb::TokenPairs MakePairs(std::span<const Tokens> asked,
                         std::span<const Tokens> replies,
                         std::span<const double> gold) {
  pb::TokenPairs pairs;
  for (size_t i = 0; i + 1 < replies.size(); i += 2) {
    if (gold[i] == gold[i + 1]) continue;
    const size_t chosen = gold[i] > gold[i + 1] ? i : i + 1;
    pb::TokenPair* pair = pairs.add_pairs();
    AddTokens(asked[i], pair->mutable_prompt());
    AddTokens(replies[chosen], pair->mutable_chosen());
    AddTokens(replies[chosen == i ? i + 1 : i], pair->mutable_rejected());
  }
  return pairs;
}

// A source that counts the tokens it gives out.
train::Source<PreferenceBatch> Counted(PairLoader& loader, int64_t& tokens) {
  return [&]() -> absl::StatusOr<std::optional<PreferenceBatch>> {
    std::optional<PreferenceBatch> batch = loader.Next();
    if (batch) tokens += std::ssize(batch->packed.scored);
    return batch;
  };
}

// Trains until the goal is reached or the updates are used up. The clock stands
// still while the gold reward is looked at.
class Run {
 public:
  Run(const Settings& settings, const Goal& goal, const Model& policy,
      const Model& start)
      : settings_(settings), goal_(goal), policy_(policy), start_(start) {}

  absl::StatusOr<StageResult> Train(const train::MicroSteps& steps,
                                    std::vector<ParamStore*> stores,
                                    double learning_rate) {
    const bool look = !std::isnan(goal_.gold);
    ALIGN_ASSIGN_OR_RETURN(const SplitPrompts prompts, ReadPrompts(settings_));
    Gold gold;
    if (look) {
      ALIGN_ASSIGN_OR_RETURN(gold, MakeGold(settings_));
    }
    train::Optimizer optimizer({.learning_rate = learning_rate}, {}, stores);
    Clock::time_point begin = Clock::now();
    const train::Observer observer = [&](const train::StepReport& report)
        -> absl::StatusOr<train::ObserverResult> {
      result_.seconds += SecondsSince(begin);
      result_.updates = report.step;
      const bool due = report.step % Count(settings_.eval_every) == 0 ||
                       report.step == goal_.max_updates;
      if (look && due) {
        ALIGN_RETURN_IF_ERROR(Look(prompts.held_out, gold.reward));
      }
      begin = Clock::now();
      return train::ObserverResult{.stop = result_.reached};
    };
    ALIGN_RETURN_IF_ERROR(train::RunLoop({.max_steps = goal_.max_updates},
                                         steps, std::move(stores), optimizer,
                                         {observer})
                              .status());
    return result_;
  }

 private:
  absl::Status Look(const std::vector<Tokens>& prompts,
                    const train::RewardFunction& gold) {
    ALIGN_ASSIGN_OR_RETURN(
        const PolicyEvaluation now,
        EvaluatePolicy(policy_, prompts, gold, train::FrozenReference(start_),
                       Sampling(settings_, policy_.config()),
                       RngOf(settings_, "eval")));
    result_.gold = now.reward.mean;
    result_.kl = now.kl;
    result_.reached = now.reward.mean >= goal_.gold;
    return absl::OkStatus();
  }

  const Settings& settings_;
  const Goal& goal_;
  const Model& policy_;
  const Model& start_;
  StageResult result_;
};

}  // namespace

absl::StatusOr<StageResult> Prepare(const Settings& settings) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> policy,
                         LoadModel(settings.model));
  ALIGN_ASSIGN_OR_RETURN(const Gold gold, MakeGold(settings));
  const Clock::time_point begin = Clock::now();
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<Tokens> prompts,
      Prompts(settings, *policy,
              Count(settings.prompts) + Count(settings.eval_prompts)));
  pb::Samples saved;
  for (const Tokens& prompt : prompts) {
    AddTokens(prompt, saved.add_prompts()->mutable_prompt());
  }
  ALIGN_RETURN_IF_ERROR(
      WriteFileAtomically(PromptsPath(settings), saved.SerializeAsString()));

  const std::span<const Tokens> training(prompts.data(),
                                         Count(settings.prompts));
  const std::span<const Tokens> held_out =
      std::span(prompts).subspan(training.size());
  const int64_t samples = 2 * Count(settings.pairs_per_prompt);
  const samplers::SamplingOptions sampling =
      Sampling(settings, policy->config());
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> completions,
      samplers::Generate(*policy, training, samples, sampling,
                         RngOf(settings, "pairs")));
  std::vector<Tokens> asked, replies;
  StageResult result;
  for (const Tokens& prompt : training) {
    asked.insert(asked.end(), samples, prompt);
  }
  for (const samplers::Completion& completion : completions) {
    replies.push_back(completion.tokens);
    result.tokens_sampled += std::ssize(completion.tokens);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::vector<double> rewards,
                         gold.reward(asked, replies));
  ALIGN_RETURN_IF_ERROR(WriteFileAtomically(
      PairsPath(settings),
      MakePairs(asked, replies, rewards).SerializeAsString()));
  result.seconds = SecondsSince(begin);
  ALIGN_ASSIGN_OR_RETURN(const PolicyEvaluation start,
                         EvaluatePolicy(*policy, held_out, gold.reward,
                                        train::FrozenReference(*policy),
                                        sampling, RngOf(settings, "eval")));
  result.gold = start.reward.mean;
  return result;
}

absl::StatusOr<StageResult> TrainReward(const Settings& settings) {
  ALIGN_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> model,
      LoadRewardModel(settings.model, RngOf(settings, "head")));
  ALIGN_ASSIGN_OR_RETURN(PairLoader loader, ReadPairs(settings));
  model->params().EnableGradients();
  int64_t tokens = 0;
  const Goal updates = {.max_updates = Count(settings.reward_updates),
                        .gold = std::nan("")};
  ALIGN_ASSIGN_OR_RETURN(
      StageResult result,
      Run(settings, updates, *model, *model)
          .Train(train::Bind<PreferenceBatch>(
                     Counted(loader, tokens),
                     train::RewardObjective(*model, train::BradleyTerry())),
                 {&model->params()}, settings.reward_rate));
  result.tokens_trained = tokens;
  ALIGN_RETURN_IF_ERROR(SaveModel(*model, settings.work + "/reward", ""));
  return result;
}

absl::StatusOr<StageResult> RunDpo(const Settings& settings, const Goal& goal) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> policy,
                         LoadModel(settings.model));
  const std::unique_ptr<Model> start = CloneModel(*policy);
  policy->params().EnableGradients();
  ALIGN_ASSIGN_OR_RETURN(PairLoader loader, ReadPairs(settings));
  ALIGN_ASSIGN_OR_RETURN(
      const train::NamedPairLoss loss,
      train::MakePairLoss("sigmoid",
                          {{"beta", losses::NumberText(settings.beta)}}));
  int64_t tokens = 0;
  ALIGN_ASSIGN_OR_RETURN(
      StageResult result,
      Run(settings, goal, *policy, *start)
          .Train(train::BindCoupled(
                     Counted(loader, tokens),
                     train::PreferenceObjective(
                         *policy,
                         train::CachedReference(train::FrozenReference(*start)),
                         loss),
                     1),
                 {&policy->params()}, settings.dpo_rate));
  result.tokens_trained = tokens;
  return result;
}

absl::StatusOr<StageResult> RunPpo(const Settings& settings, const Goal& goal) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> policy,
                         LoadModel(settings.model));
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> reward,
                         LoadModel(settings.work + "/reward"));
  ALIGN_ASSIGN_OR_RETURN(SplitPrompts prompts, ReadPrompts(settings));
  const std::unique_ptr<Model> start = CloneModel(*policy);
  const std::unique_ptr<Model> critic = CloneModel(*reward);
  policy->params().EnableGradients();
  critic->params().EnableGradients();
  ALIGN_ASSIGN_OR_RETURN(
      const std::unique_ptr<train::PpoRollouts> rollouts,
      train::PpoRollouts::Create(
          {.prompts = std::move(prompts.train), .ids = {}, .numbers = {}},
          {.generate = train::SampleReplies(
               *policy, Sampling(settings, policy->config())),
           .reward = train::RewardModelFunction(*reward),
           .reference = train::FrozenReference(*start),
           .critic = critic.get()},
          {.prompts = Count(settings.rollout_prompts),
           .epochs = Count(settings.epochs),
           .minibatches = Count(settings.minibatches),
           .kl_coef = settings.kl_coef},
          RngOf(settings, "ppo")));
  ALIGN_ASSIGN_OR_RETURN(
      StageResult result,
      Run(settings, goal, *policy, *start)
          .Train(train::Bind<train::PpoBatch>(
                     [&] { return rollouts->Next(); },
                     train::PpoObjective(*policy, *critic)),
                 {&policy->params(), &critic->params()}, settings.ppo_rate));
  result.tokens_sampled = rollouts->state().tokens_sampled;
  result.tokens_trained = rollouts->state().tokens_trained;
  return result;
}

}  // namespace align::bench
