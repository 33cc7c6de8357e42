#include "align/config/bench_stages.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "align/config/bench_data.h"
#include "align/config/ppo_setup.h"
#include "align/eval/lexicon_reward.h"
#include "align/eval/policy_eval.h"
#include "align/text/tokenizer.h"
#include "align/train/ppo_objective.h"
#include "align/train/ppo_rollout.h"
#include "align/train/preference_objective.h"
#include "align/train/reward_objective.h"

namespace align::bench {
namespace {

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

absl::StatusOr<Gold> MakeGold(const Settings& settings, const Model& policy) {
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
    ALIGN_ASSIGN_OR_RETURN(gold.model,
                           LoadScorer("--gold", settings.gold, policy));
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

// Of every two replies to a prompt the one with more gold reward is preferred.
std::vector<PairExample> MakePairs(std::span<const Tokens> asked,
                                   std::span<const Tokens> replies,
                                   std::span<const double> gold) {
  std::vector<PairExample> pairs;
  for (size_t i = 0; i + 1 < replies.size(); i += 2) {
    if (gold[i] == gold[i + 1]) continue;
    const size_t chosen = gold[i] > gold[i + 1] ? i : i + 1;
    pairs.push_back({.prompt = asked[i],
                     .chosen = replies[chosen],
                     .rejected = replies[chosen == i ? i + 1 : i],
                     .id = {}});
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
    ALIGN_ASSIGN_OR_RETURN(const SplitPrompts prompts, LoadPrompts(settings_));
    Gold gold;
    if (look) {
      ALIGN_ASSIGN_OR_RETURN(gold, MakeGold(settings_, policy_));
    }
    train::Optimizer optimizer({.learning_rate = learning_rate}, {}, stores);
    Clock::time_point begin = Clock::now();
    const train::Observer observer = [&](const train::StepReport& report)
        -> absl::StatusOr<train::ObserverResult> {
      result_.seconds += SecondsSince(begin);
      result_.updates = report.step;
      if (settings_.stop && settings_.stop()) return Cancelled("stopped");
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
  Gold gold;
  if (!settings.gold.empty()) {
    ALIGN_ASSIGN_OR_RETURN(gold, MakeGold(settings, *policy));
  }
  std::vector<PairExample> pairs;
  ALIGN_ASSIGN_OR_RETURN(const bool given,
                         ReadDataPairs(settings, policy->config(), pairs));
  if (given) {
    ALIGN_ASSIGN_OR_RETURN(const SplitPairs split,
                           SplitByPrompt(std::move(pairs), settings));
    ALIGN_RETURN_IF_ERROR(SavePrompts(settings, split.prompts));
    ALIGN_RETURN_IF_ERROR(SavePairs(settings, "pairs", split.train));
    ALIGN_RETURN_IF_ERROR(SavePairs(settings, "judge_pairs", split.judge));
    return StageResult{.needs_judge = settings.gold.empty()};
  }
  if (settings.gold.empty()) {
    return InvalidArgument(
        "--gold is missing: only records of preference pairs train a judge");
  }
  const Clock::time_point begin = Clock::now();
  ALIGN_ASSIGN_OR_RETURN(const SplitPrompts prompts,
                         ReadDataPrompts(settings, *policy));
  ALIGN_RETURN_IF_ERROR(SavePrompts(settings, prompts));
  const int64_t samples = 2 * Count(settings.pairs_per_prompt);
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> completions,
      samplers::Generate(*policy, prompts.train, samples,
                         Sampling(settings, policy->config()),
                         RngOf(settings, "pairs"), {}, settings.stop));
  std::vector<Tokens> asked, replies;
  StageResult result;
  for (const Tokens& prompt : prompts.train) {
    asked.insert(asked.end(), samples, prompt);
  }
  for (const samplers::Completion& completion : completions) {
    replies.push_back(completion.tokens);
    result.tokens_sampled += std::ssize(completion.tokens);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::vector<double> rewards,
                         gold.reward(asked, replies));
  ALIGN_RETURN_IF_ERROR(
      SavePairs(settings, "pairs", MakePairs(asked, replies, rewards)));
  result.seconds = SecondsSince(begin);
  return result;
}

absl::StatusOr<StageResult> LookAtStart(const Settings& settings) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> policy,
                         LoadModel(settings.model));
  ALIGN_ASSIGN_OR_RETURN(const Gold gold, MakeGold(settings, *policy));
  ALIGN_ASSIGN_OR_RETURN(const SplitPrompts prompts, LoadPrompts(settings));
  ALIGN_ASSIGN_OR_RETURN(const PolicyEvaluation start,
                         EvaluatePolicy(*policy, prompts.held_out, gold.reward,
                                        train::FrozenReference(*policy),
                                        Sampling(settings, policy->config()),
                                        RngOf(settings, "eval")));
  return StageResult{.gold = start.reward.mean};
}

absl::StatusOr<StageResult> TrainReward(const Settings& settings,
                                        const std::string& pairs,
                                        const std::string& name) {
  ALIGN_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> model,
      LoadRewardModel(settings.model, RngOf(settings, "head").Fork(name)));
  ALIGN_ASSIGN_OR_RETURN(PairLoader loader, LoadPairs(settings, pairs));
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
  ALIGN_RETURN_IF_ERROR(SaveModel(*model, settings.work + "/" + name, ""));
  return result;
}

absl::StatusOr<StageResult> RunDpo(const Settings& settings, const Goal& goal) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> policy,
                         LoadModel(settings.model));
  const std::unique_ptr<Model> start = CloneModel(*policy);
  policy->params().EnableGradients();
  ALIGN_ASSIGN_OR_RETURN(PairLoader loader, LoadPairs(settings, "pairs"));
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
  ALIGN_ASSIGN_OR_RETURN(SplitPrompts prompts, LoadPrompts(settings));
  const std::unique_ptr<Model> start = CloneModel(*policy);
  const std::unique_ptr<Model> critic = CloneModel(*reward);
  policy->params().EnableGradients();
  critic->params().EnableGradients();
  ALIGN_ASSIGN_OR_RETURN(
      const std::unique_ptr<train::PpoRollouts> rollouts,
      train::PpoRollouts::Create(
          {.prompts = std::move(prompts.train), .ids = {}, .numbers = {}},
          {.generate = train::SampleReplies(
               *policy, Sampling(settings, policy->config()), settings.stop),
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
