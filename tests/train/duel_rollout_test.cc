#include "align/train/duel_rollout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "align/dnnl/matmul.h"
#include "align/train/online_objective.h"
#include "align/train/optimizer.h"
#include "losses/numerics.h"
#include "losses/pair_registry.h"
#include "tests/train/liked_tokens.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kStop = 7;
constexpr int64_t kLength = 8;

enum class Opponent { kItself, kReference, kMixture };

struct SettingOptions {
  DuelRolloutOptions rollout;
  Opponent opponent = Opponent::kItself;
  double temperature = 0.8;
  uint64_t reference_seed = 1;  // the policy's
  std::vector<WeightedReward> rewards = {{.name = "liked", .score = Liked}};
};

// A policy, its reference and rollouts.
struct Setting {
  explicit Setting(SettingOptions options)
      : policy(TinyModel(1)), reference(TinyModel(options.reference_seed)) {
    policy->params().EnableGradients();
    const samplers::SamplingOptions sampling = {
        .max_new_tokens = kLength,
        .temperature = options.temperature,
        .stop_ids = {kStop}};
    DuelRolloutParts parts = {
        .generate = SampleReplies(*policy, sampling, nullptr,
                                  options.rollout.group_size),
        .rewards = std::move(options.rewards),
        .reference = FrozenReference(*reference, options.temperature)};
    if (options.opponent != Opponent::kItself) {
      parts.generate =
          OneOfEach(SampleReplies(*policy, sampling),
                    options.opponent == Opponent::kReference
                        ? SampleReplies(*reference, sampling)
                        : SampleMixture({policy.get(), reference.get()},
                                        {0.75, 0.25}, sampling));
    }
    auto made = DuelRollouts::Create(TinyPrompts(10), std::move(parts),
                                     options.rollout, Rng(3));
    ALIGN_CHECK(made.ok()) << made.status().ToString();
    rollouts = *std::move(made);
  }

  SampledPairs NextPairs() {
    auto batch = rollouts->NextPairs();
    ALIGN_CHECK(batch.ok() && batch->has_value()) << batch.status().ToString();
    return **std::move(batch);
  }
  PolicyBatch NextFirsts() {
    auto batch = rollouts->NextFirsts();
    ALIGN_CHECK(batch.ok() && batch->has_value()) << batch.status().ToString();
    return **std::move(batch);
  }

  std::unique_ptr<Model> policy, reference;
  std::unique_ptr<DuelRollouts> rollouts;
};

// The tokens of sequence `s`.
std::vector<int32_t> Reply(const PackedBatch& packed, int32_t s) {
  std::vector<int32_t> tokens;
  for (const ScoredToken& token : packed.scored) {
    if (token.sequence == s) tokens.push_back(token.label);
  }
  return tokens;
}

TEST(DuelRollouts, TheBestOfAGroupMeetsTheWorst) {
  Setting setting({.rollout = {.prompts = 6, .group_size = 4}});
  const SampledPairs batch = setting.NextPairs();
  const DuelRollout& rollout = setting.rollouts->rollout();
  ASSERT_EQ(batch.pairs(), 6);
  EXPECT_TRUE(batch.policy_won.empty());
  int64_t rows = 0;
  for (int64_t i = 0; i < 6; ++i) {
    const auto prompt = std::ranges::find(rollout.prompts.ids, batch.ids[i]) -
                        rollout.prompts.ids.begin();
    const auto group = std::span(rollout.scores).subspan(4 * prompt, 4);
    const auto best = std::ranges::max_element(group) - group.begin();
    EXPECT_EQ(batch.scores[2 * i], group[best]);
    EXPECT_EQ(batch.scores[2 * i + 1], *std::ranges::min_element(group));
    EXPECT_EQ(batch.margins[i], batch.scores[2 * i] - batch.scores[2 * i + 1]);
    EXPECT_EQ(Reply(batch.packed, static_cast<int32_t>(2 * i)),
              rollout.replies[4 * prompt + best].tokens);
    rows += static_cast<int64_t>(rollout.prompts.prompts[prompt].size());
  }
  EXPECT_EQ(setting.rollouts->state().tokens_trained, batch.packed.rows());
  EXPECT_EQ(batch.packed.rows(),
            rows + static_cast<int64_t>(batch.packed.scored.size()));
}

// All scores are equal: TRL's rule, or none.
TEST(DuelRollouts, OfEqualScoresTheFirstIsChosenOrThePromptLeftOut) {
  const RewardFunction flat =
      RewardByReply([](const std::vector<int32_t>&) { return 1.0; });
  SettingOptions options = {.rollout = {.prompts = 4},
                            .rewards = {{.name = "flat", .score = flat}}};
  Setting first(options);
  const SampledPairs batch = first.NextPairs();
  ASSERT_EQ(batch.pairs(), 4);
  EXPECT_EQ(batch.policy_won, (std::vector<uint8_t>{1, 1, 1, 1}));
  EXPECT_EQ(batch.margins, (std::vector<double>{0, 0, 0, 0}));
  options.rollout.skip_ties = true;
  Setting skip(options);
  const SampledPairs none = skip.NextPairs();
  EXPECT_EQ(none.pairs(), 0);
  EXPECT_EQ(none.prompts_left_out, 4);
}

TEST(DuelRollouts, AReplyWithoutAScoreMeetsNone) {
  const RewardFunction long_only =
      RewardByReply([](const std::vector<int32_t>& reply) {
        return reply.size() < kLength ? std::nan("") : reply[0] * 1.0;
      });
  Setting setting({.rollout = {.prompts = 10},
                   .temperature = 1.5,
                   .rewards = {{.name = "long", .score = long_only}}});
  const SampledPairs batch = setting.NextPairs();
  const std::vector<double>& scores = setting.rollouts->rollout().scores;
  int64_t scored = 0;
  for (size_t i = 0; i < scores.size(); i += 2) {
    scored += !std::isnan(scores[i]) && !std::isnan(scores[i + 1]);
  }
  EXPECT_EQ(batch.pairs(), scored);
  EXPECT_EQ(batch.prompts_left_out, 10 - scored);
  EXPECT_GT(scored, 0);
  EXPECT_LT(scored, 10);
}

TEST(DuelRollouts, APenaltyIsTakenFromRepliesThatDoNotEnd) {
  SettingOptions options = {.rollout = {.prompts = 10}, .temperature = 1.5};
  Setting plain(options);
  options.rollout.missing_eos_penalty = 0.25;
  Setting strict(options);
  plain.NextPairs();
  strict.NextPairs();
  int ended = 0;
  for (size_t i = 0; i < 20; ++i) {
    const bool stopped = plain.rollouts->rollout().replies[i].stopped;
    ended += stopped;
    EXPECT_NEAR(strict.rollouts->rollout().scores[i],
                plain.rollouts->rollout().scores[i] - (stopped ? 0 : 0.25),
                1e-12);
  }
  EXPECT_GT(ended, 0);
  EXPECT_LT(ended, 20);
}

// The second reply is the reference's own: it draws from a stream of its own.
TEST(DuelRollouts, XposPairsSayWhetherThePolicysOwnSampleWon) {
  Setting setting({.rollout = {.prompts = 10},
                   .opponent = Opponent::kReference,
                   .reference_seed = 9});
  const SampledPairs batch = setting.NextPairs();
  const DuelRollout& rollout = setting.rollouts->rollout();
  ASSERT_EQ(batch.policy_won.size(), 10u);
  int won = 0;
  for (int64_t i = 0; i < 10; ++i) {
    const auto prompt = std::ranges::find(rollout.prompts.ids, batch.ids[i]) -
                        rollout.prompts.ids.begin();
    const bool own =
        rollout.scores[2 * prompt] >= rollout.scores[2 * prompt + 1];
    EXPECT_EQ(batch.policy_won[i], own ? 1 : 0);
    EXPECT_EQ(Reply(batch.packed, static_cast<int32_t>(2 * i)),
              rollout.replies[2 * prompt + (own ? 0 : 1)].tokens);
    won += own;
  }
  EXPECT_GT(won, 0);
  EXPECT_LT(won, 10);
  Setting same({.rollout = {.prompts = 10}, .opponent = Opponent::kReference});
  same.NextPairs();
  EXPECT_NE(same.rollouts->rollout().replies[0].tokens,
            same.rollouts->rollout().replies[1].tokens);
}

TEST(DuelRollouts, NashAdvantagesAreTheChanceToWinLessOneHalf) {
  for (const PreferenceRule rule :
       {PreferenceRule::kBradleyTerry, PreferenceRule::kHard}) {
    Setting setting({.rollout = {.prompts = 10, .preference = rule},
                     .opponent = Opponent::kMixture,
                     .reference_seed = 9});
    const PolicyBatch batch = setting.NextFirsts();
    const DuelRollout& rollout = setting.rollouts->rollout();
    ASSERT_EQ(batch.packed.sequences, 10);
    EXPECT_EQ(batch.reference_log_probs.size(), batch.old_log_probs.size());
    for (int32_t s = 0; s < 10; ++s) {
      const auto prompt = std::ranges::find(rollout.prompts.ids, batch.ids[s]) -
                          rollout.prompts.ids.begin();
      EXPECT_EQ(Reply(batch.packed, s), rollout.replies[2 * prompt].tokens);
      const double own = rollout.scores[2 * prompt];
      const double other = rollout.scores[2 * prompt + 1];
      const double hard = own == other ? 0 : own > other ? 0.5 : -0.5;
      EXPECT_NEAR(batch.advantages[s],
                  rule == PreferenceRule::kHard
                      ? hard
                      : losses::Sigmoid(own - other) - 0.5,
                  1e-12);
    }
  }
}

TEST(DuelRollouts, TheOpponentIsTheMixture) {
  Setting setting({.rollout = {.prompts = 4},
                   .opponent = Opponent::kMixture,
                   .reference_seed = 9});
  setting.NextFirsts();
  const DuelRollout& rollout = setting.rollouts->rollout();
  const Model* const models[] = {setting.policy.get(), setting.reference.get()};
  const auto mixed = samplers::GenerateCombined(
      models, samplers::GeometricMixture({0.75, 0.25}), rollout.prompts.prompts,
      1, {.max_new_tokens = kLength, .temperature = 0.8, .stop_ids = {kStop}},
      Rng(3).Fork("sample").Fork(uint64_t{0}).Fork("second"));
  ASSERT_TRUE(mixed.ok());
  for (size_t p = 0; p < 4; ++p) {
    EXPECT_EQ((*mixed)[p].tokens, rollout.replies[2 * p + 1].tokens);
  }
}

TEST(DuelRollouts, AStateBetweenRolloutsContinuesThemToTheBit) {
  const SettingOptions options = {.rollout = {.prompts = 4}};
  Setting straight(options), resumed(options);
  straight.NextPairs();
  resumed.rollouts->set_state(straight.rollouts->state());
  const SampledPairs a = straight.NextPairs(), b = resumed.NextPairs();
  EXPECT_EQ(a.packed.tokens, b.packed.tokens);
  EXPECT_EQ(a.scores, b.scores);
}

TEST(DuelRollouts, RefusesWhatCannotBeCompared) {
  const auto policy = TinyModel(1);
  const auto message = [&](const DuelRolloutOptions& options, bool reward,
                           int64_t samples) {
    DuelRolloutParts parts = {
        .generate =
            SampleReplies(*policy, {.max_new_tokens = 4}, nullptr, samples)};
    if (reward) parts.rewards = {{.name = "liked", .score = Liked}};
    auto made =
        DuelRollouts::Create(TinyPrompts(3), std::move(parts), options, Rng(1));
    if (!made.ok()) return Message(made.status());
    return Message((*made)->NextPairs().status());
  };
  EXPECT_THAT(message({.prompts = 2, .group_size = 1}, true, 1),
              HasSubstr("at least 2 replies to compare"));
  EXPECT_THAT(message({.prompts = 2}, false, 2), HasSubstr("no reward"));
  EXPECT_THAT(message({.prompts = 2, .minibatches = 3}, true, 2),
              HasSubstr("minibatches 3"));
  EXPECT_THAT(message({.prompts = 2}, true, 3), HasSubstr("expected 4"));
}

using Report = StepReport;

std::vector<Report> Run(Setting& setting, const MicroSteps& steps,
                        int64_t accumulation) {
  const std::vector<ParamStore*> stores = {&setting.policy->params()};
  Optimizer optimizer({.learning_rate = 1e-2}, {}, stores);
  std::vector<Report> reports;
  const Observer keep = [&](const Report& report) {
    reports.push_back(report);
    return ObserverResult();
  };
  const auto run =
      RunLoop({.accumulation = accumulation}, steps, stores, optimizer, {keep});
  ALIGN_CHECK(run.ok()) << run.status().ToString();
  return reports;
}

std::vector<Report> TrainPairs(Setting& setting, const std::string& name,
                               int64_t accumulation = 1,
                               const losses::OptionValues& values = {}) {
  const auto loss = MakePairLoss(name, values);
  ALIGN_CHECK(loss.ok()) << loss.status().ToString();
  return Run(setting,
             BindCoupled<SampledPairs>(
                 [&setting] { return setting.rollouts->NextPairs(); },
                 OnlinePairObjective(*setting.policy,
                                     FrozenReference(*setting.reference), *loss,
                                     {.alpha = 1e-5}),
                 accumulation),
             accumulation);
}

std::vector<Report> TrainNash(Setting& setting, int64_t accumulation = 1) {
  const auto loss = MakePolicyLoss("nash_md");
  ALIGN_CHECK(loss.ok()) << loss.status().ToString();
  return Run(
      setting,
      BindCoupled<PolicyBatch>(
          [&setting] { return setting.rollouts->NextFirsts(); },
          NashObjective(*setting.policy, *loss, {.temperature = 0.8}, 0.25),
          accumulation),
      accumulation);
}

// The mean reward of fresh samples of the policy.
double RewardOf(const Model& policy) {
  const PromptBatch prompts = TinyPrompts(10);
  const auto replies = samplers::Generate(
      policy, prompts.prompts, 8,
      {.max_new_tokens = kLength, .temperature = 0.8, .stop_ids = {kStop}},
      Rng(77));
  ALIGN_CHECK(replies.ok());
  double sum = 0;
  for (const samplers::Completion& reply : *replies) {
    sum += (*Liked({}, std::span(&reply.tokens, 1)))[0];
  }
  return sum / static_cast<double>(replies->size());
}

TEST(OnlinePairs, EveryLossRaisesAVerifiableReward) {
  for (const auto& entry : losses::PairLosses()) {
    const std::string& loss = entry.name;
    SCOPED_TRACE(loss);
    const bool xpo = losses::MakePairLoss(loss).needs.policy_won;
    Setting setting(
        {.rollout = {.prompts = 8, .group_size = xpo ? 2 : 4, .rollouts = 20},
         .opponent = xpo ? Opponent::kReference : Opponent::kItself});
    const double before = RewardOf(*setting.policy);
    const std::vector<Report> reports = TrainPairs(setting, loss);
    ASSERT_EQ(reports.size(), 20u);
    for (const Report& report : reports) EXPECT_FALSE(report.skipped);
    EXPECT_GT(RewardOf(*setting.policy), before + 0.3);
  }
}

TEST(NashMd, RaisesAVerifiableRewardAndStartsAtRatioOne) {
  Setting setting({.rollout = {.prompts = 16,
                               .rollouts = 30,
                               .preference = PreferenceRule::kHard},
                   .opponent = Opponent::kMixture});
  const double before = RewardOf(*setting.policy);
  const std::vector<Report> reports = TrainNash(setting);
  const absl::Status status = CheckInitialRatios(reports.front());
  EXPECT_TRUE(status.ok()) << Message(status);
  EXPECT_GT(RewardOf(*setting.policy), before + 0.2);
  EXPECT_EQ(reports.front().metrics.at("loss/kl"), 0);
  EXPECT_GT(reports.back().metrics.at("loss/kl"), 0);
}

// Same loss, gradient and metrics, however the step is cut.
void ExpectSameStep(const Report& a, const Report& b) {
  EXPECT_NEAR(a.loss, b.loss, 1e-5 * std::max(1.0, std::abs(a.loss)));
  EXPECT_NEAR(a.grad_norm / b.grad_norm, 1, 1e-5);
  for (const auto& [name, value] : a.metrics) {
    ASSERT_TRUE(b.metrics.contains(name)) << name;
    EXPECT_NEAR(value, b.metrics.at(name),
                1e-5 * std::max(1.0, std::abs(value)))
        << name;
  }
}

TEST(OnlinePairs, EightMicroBatchesOfOneEqualOneOfEight) {
  const auto step = [](const std::string& loss, int64_t minibatches,
                       const losses::OptionValues& values) {
    const bool xpo = loss == "xpo";
    Setting setting(
        {.rollout = {.prompts = 8, .rollouts = 1, .minibatches = minibatches},
         .opponent = xpo ? Opponent::kReference : Opponent::kItself,
         .reference_seed = 9});
    return TrainPairs(setting, loss, minibatches, values).at(0);
  };
  for (const char* loss : {"sigmoid", "ipo", "xpo", "aot", "rpo_sq"}) {
    SCOPED_TRACE(loss);
    ExpectSameStep(step(loss, 1, {}), step(loss, 8, {}));
  }
}

// A share of the prompts makes no pair, and some micro-batches are empty.
TEST(OnlinePairs, EmptyMicroBatchesChangeNoNumber) {
  const RewardFunction some =
      RewardByReply([](const std::vector<int32_t>& reply) {
        return reply.size() < kLength ? std::nan("") : reply[0] * 1.0;
      });
  const auto step = [&](const std::string& loss, int64_t minibatches) {
    Setting setting(
        {.rollout = {.prompts = 8, .rollouts = 1, .minibatches = minibatches},
         .temperature = 1.5,
         .reference_seed = 9,
         .rewards = {{.name = "some", .score = some}}});
    return TrainPairs(setting, loss, minibatches).at(0);
  };
  for (const char* loss : {"sigmoid", "aot"}) {
    const Report whole = step(loss, 1);
    EXPECT_GT(whole.metrics.at("frac_left_out"), 0);
    EXPECT_LT(whole.metrics.at("frac_left_out"), 1);
    ExpectSameStep(whole, step(loss, 8));
  }
}

TEST(NashMd, EightMicroBatchesOfOneEqualOneOfEight) {
  const auto step = [](int64_t minibatches) {
    Setting setting(
        {.rollout = {.prompts = 8, .rollouts = 1, .minibatches = minibatches},
         .opponent = Opponent::kMixture,
         .reference_seed = 9});
    return TrainNash(setting, minibatches).at(0);
  };
  ExpectSameStep(step(1), step(8));
}

// What TRL's OnlineDPOTrainer, XPOTrainer and NashMDTrainer log.
TEST(OnlineMetrics, HaveTrlsNamesAndValues) {
  Setting setting({.rollout = {.prompts = 8, .rollouts = 1},
                   .opponent = Opponent::kReference,
                   .reference_seed = 9});
  const Report xpo = TrainPairs(setting, "xpo", 1, {{"alpha", "1e-5"}}).at(0);
  const auto& m = xpo.metrics;
  EXPECT_NEAR(m.at("loss/dpo") + m.at("loss/xpo"), xpo.loss, 1e-9);
  EXPECT_LT(m.at("loss/xpo"), 0);
  EXPECT_EQ(m.at("alpha"), 1e-5);
  EXPECT_EQ(m.at("beta"), 0.1);
  EXPECT_NEAR(m.at("objective/non_score_reward"), -0.1 * m.at("objective/kl"),
              1e-9);
  EXPECT_NEAR(-m.at("objective/entropy"),
              (m.at("logps/chosen") + m.at("logps/rejected")) / 2, 1e-9);
  for (const char* name :
       {"objective/model_scores", "objective/ref_scores",
        "objective/scores_margin", "val/model_contain_eos_token",
        "val/ref_contain_eos_token", "rewards/chosen", "rewards/accuracies"}) {
    EXPECT_TRUE(m.contains(name)) << name;
  }
  EXPECT_FALSE(m.contains("objective/scores"));

  Setting own({.rollout = {.prompts = 8, .rollouts = 1}, .reference_seed = 9});
  const Report dpo = TrainPairs(own, "sigmoid").at(0);
  const std::vector<double>& scores = own.rollouts->rollout().scores;
  double sum = 0;
  for (double score : scores) sum += score;
  EXPECT_NEAR(dpo.metrics.at("objective/scores"), sum / 16, 1e-12);
  EXPECT_NEAR(dpo.metrics.at("objective/rlhf_reward"),
              sum / 16 + dpo.metrics.at("objective/non_score_reward"), 1e-9);
  EXPECT_TRUE(dpo.metrics.contains("val/contain_eos_token"));

  Setting mixture({.rollout = {.prompts = 8, .rollouts = 1},
                   .opponent = Opponent::kMixture,
                   .reference_seed = 9});
  const Report nash = TrainNash(mixture).at(0);
  EXPECT_NEAR(
      nash.metrics.at("logps/chosen") - nash.metrics.at("logps/rejected"),
      nash.metrics.at("loss/kl"), 1e-9);
  for (const char* name :
       {"rewards/probabilities", "rewards/margins", "rewards/accuracies",
        "loss/score", "objective/entropy", "rewards/chosen", "rewards/rejected",
        "val/model_contain_eos_token", "val/ref_contain_eos_token", "beta"}) {
    EXPECT_TRUE(nash.metrics.contains(name)) << name;
  }
}

}  // namespace
}  // namespace align::train
