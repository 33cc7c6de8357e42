#include "align/train/ppo_rollout.h"

#include <algorithm>
#include <map>
#include <set>

#include "align/dnnl/matmul.h"
#include "align/train/optimizer.h"
#include "gtest/gtest.h"
#include "tests/train/liked_tokens.h"

namespace align::train {
namespace {

constexpr int32_t kStop = 7;

// A policy, its reference, a critic, and rollouts of the three.
struct Setting {
  explicit Setting(const PpoRolloutOptions& options, double temperature = 0.8,
                   uint64_t reference_seed = 1, uint64_t seed = 3)
      : policy(TinyModel(1)),
        reference(TinyModel(reference_seed)),
        critic(TinyModel(2, false, true)) {
    policy->params().EnableGradients();
    critic->params().EnableGradients();
    auto made = PpoRollouts::Create(
        TinyPrompts(10),
        {.generate = SampleReplies(*policy, {.max_new_tokens = 8,
                                             .temperature = temperature,
                                             .stop_ids = {kStop}}),
         .reward = Liked,
         .reference = FrozenReference(*reference, temperature),
         .critic = critic.get()},
        options, Rng(seed));
    ALIGN_CHECK(made.ok()) << made.status().ToString();
    rollouts = *std::move(made);
    objective = PpoObjective(*policy, *critic, {.temperature = temperature});
  }

  PpoBatch Next() {
    auto batch = rollouts->Next();
    ALIGN_CHECK(batch.ok() && batch->has_value()) << batch.status().ToString();
    return **std::move(batch);
  }

  // Trains until the rollouts end; the reports.
  std::vector<StepReport> Train(double learning_rate) {
    const std::vector<ParamStore*> stores = {&policy->params(),
                                             &critic->params()};
    Optimizer optimizer({.learning_rate = learning_rate}, {}, stores);
    std::vector<StepReport> reports;
    const Observer keep = [&](const StepReport& report) {
      reports.push_back(report);
      return ObserverResult();
    };
    const Source<PpoBatch> source = [this] { return rollouts->Next(); };
    const auto run = RunLoop({}, Bind<PpoBatch>(source, objective), stores,
                             optimizer, {keep});
    ALIGN_CHECK(run.ok()) << run.status().ToString();
    return reports;
  }

  std::unique_ptr<Model> policy, reference, critic;
  std::unique_ptr<PpoRollouts> rollouts;
  Objective<PpoBatch> objective;
};

double Mean(const PpoBatch& batch, const std::string& name) {
  const MetricSum metric = batch.rollout_metrics.at(name);
  return metric.sum / metric.weight;
}

TEST(PpoRollouts, TheFirstStepHasRatioOneAndNoPolicyLoss) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  Setting setting({.prompts = 16});
  const auto step = setting.objective(setting.Next());
  ASSERT_TRUE(step.ok()) << Message(step.status());
  EXPECT_EQ(step->metrics.at("val/ratio").sum, step->weight);
  EXPECT_EQ(step->metrics.at("policy/approxkl_avg").sum, 0);
  // Whitened over the rollout, which is the batch: the advantages sum to 0.
  EXPECT_NEAR(step->metrics.at("loss/policy_avg").sum / step->weight, 0, 1e-9);
}

TEST(PpoRollouts, KlIsExactlyZeroWhereThePolicyIsTheReference) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  Setting setting({.prompts = 16});
  const PpoBatch batch = setting.Next();
  EXPECT_EQ(Mean(batch, "objective/kl"), 0);
  EXPECT_EQ(Mean(batch, "objective/rlhf_reward"),
            Mean(batch, "objective/scores"));
}

TEST(PpoRollouts, EveryEpochGivesEveryCompletionOnceInAFreshOrder) {
  Setting setting({.prompts = 10, .epochs = 2, .minibatches = 3});
  std::vector<std::vector<std::string>> epochs(2);
  int64_t trained = 0, scored = 0;
  for (int i = 0; i < 6; ++i) {
    const PpoBatch batch = setting.Next();
    trained += batch.packed.rows();
    scored += static_cast<int64_t>(batch.packed.scored.size());
    epochs[i / 3].insert(epochs[i / 3].end(), batch.ids.begin(),
                         batch.ids.end());
    EXPECT_EQ(setting.rollouts->between_rollouts(), i == 5);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (const auto& epoch : epochs) {
    EXPECT_EQ(epoch.size(), 10u);
    EXPECT_EQ(std::set<std::string>(epoch.begin(), epoch.end()).size(), 10u);
  }
  EXPECT_EQ(setting.rollouts->state().tokens_trained, trained);
  EXPECT_EQ(2 * setting.rollouts->state().tokens_sampled, scored);
}

TEST(PpoRollouts, EveryPromptComesOnceBeforeAnyComesAgain) {
  Setting setting({.prompts = 4, .epochs = 1});
  std::map<std::string, int> times;
  for (int rollout = 0; rollout < 5; ++rollout) {
    for (const std::string& id : setting.Next().ids) ++times[id];
  }
  EXPECT_EQ(times.size(), 10u);
  for (const auto& [id, count] : times) EXPECT_EQ(count, 2) << id;
}

TEST(PpoRollouts, PromptsAreNeverTrained) {
  Setting setting({.prompts = 10});
  const PpoBatch batch = setting.Next();
  const PromptBatch prompts = TinyPrompts(10);
  size_t completion_tokens = batch.packed.tokens.size();
  for (const auto& prompt : prompts.prompts) completion_tokens -= prompt.size();
  EXPECT_EQ(batch.packed.scored.size(), completion_tokens);
  EXPECT_EQ(batch.old_log_probs.size(), completion_tokens);
}

TEST(PpoRollouts, APenaltyLowersTheScoreOfRepliesThatDoNotEnd) {
  Setting plain({.prompts = 32}, 1.5);
  Setting penalised({.prompts = 32, .missing_eos_penalty = 0.5}, 1.5);
  const PpoBatch a = plain.Next(), b = penalised.Next();
  const double stopped = Mean(a, "val/num_eos_tokens");
  ASSERT_GT(stopped, 0);
  ASSERT_LT(stopped, 32);
  EXPECT_NEAR(Mean(a, "objective/scores") - Mean(b, "objective/scores"),
              0.5 * (32 - stopped) / 32, 1e-12);
}

TEST(PpoRollouts, TheKlCoefficientMovesTowardsItsTarget) {
  const auto after = [](double target) {
    Setting setting({.prompts = 16, .kl_target = target, .kl_horizon = 100}, 1,
                    /*reference_seed=*/9);
    const PpoBatch batch = setting.Next();
    EXPECT_GT(Mean(batch, "objective/kl"), 1);
    EXPECT_EQ(Mean(batch, "kl_coef"), 0.05);  // what this rollout used
    return setting.rollouts->state().kl_coef;
  };
  // The error is clipped to 0.2: 16 of 100 samples move it by 3.2 %.
  EXPECT_NEAR(after(0.1), 0.05 * 1.032, 1e-12);
  EXPECT_NEAR(after(1e6), 0.05 * 0.968, 1e-12);
  EXPECT_EQ(after(0), 0.05);
}

TEST(PpoRollouts, TheRolloutsMetricsReachTheReport) {
  Setting setting({.prompts = 8, .rollouts = 1, .epochs = 1}, 1, 9);
  const PpoBatch batch = setting.Next();
  setting.rollouts->set_state({.rollout = 0, .kl_coef = 0.05});
  const std::vector<StepReport> reports = setting.Train(1e-4);
  ASSERT_EQ(reports.size(), 1u);
  for (const char* name :
       {"objective/kl", "objective/entropy", "objective/non_score_reward",
        "objective/rlhf_reward", "objective/scores", "val/num_eos_tokens",
        "kl_coef", "episode"}) {
    EXPECT_DOUBLE_EQ(reports[0].metrics.at(name), Mean(batch, name)) << name;
  }
}

TEST(PpoRollouts, AFewRolloutsRaiseAVerifiableReward) {
  Setting setting({.prompts = 64, .rollouts = 20});
  const std::vector<StepReport> reports = setting.Train(1e-2);
  ASSERT_EQ(reports.size(), 80u);
  EXPECT_GT(reports.back().metrics.at("objective/scores"),
            reports.front().metrics.at("objective/scores") + 0.3);
}

TEST(PpoRollouts, TokensTrainedAreTheSumOfNumTokens) {
  Setting setting({.prompts = 8, .rollouts = 2, .epochs = 2});
  double tokens = 0;
  for (const StepReport& report : setting.Train(1e-4)) {
    tokens += report.metrics.at("num_tokens");
  }
  EXPECT_EQ(tokens, setting.rollouts->state().tokens_trained);
}

TEST(PpoRollouts, ValuesComeFromAHeadOnThePolicyWhenThereIsOne) {
  const auto policy = TinyModel(1);
  ValueHead head(policy->config().hidden_size);
  head.params().values(1)[0] = 0.75f;  // every state's value
  auto rollouts = PpoRollouts::Create(
      TinyPrompts(4),
      {.generate = SampleReplies(*policy, {.max_new_tokens = 8}),
       .reward = Liked,
       .reference = FrozenReference(*policy),
       .critic = policy.get(),
       .value_head = &head},
      {.prompts = 4}, Rng(3));
  ASSERT_TRUE(rollouts.ok());
  const auto batch = (*rollouts)->Next();
  ASSERT_TRUE(batch.ok() && batch->has_value());
  for (double value : (*batch)->old_values) EXPECT_EQ(value, 0.75);
}

TEST(PpoRollouts, TheSameSeedGivesTheSameBits) {
  const auto weights = [](uint64_t seed) {
    Setting setting({.prompts = 8, .rollouts = 2, .minibatches = 2}, 0.8, 1,
                    seed);
    setting.Train(1e-3);
    const auto values = setting.policy->params().values(0);
    return std::vector<float>(values.begin(), values.end());
  };
  EXPECT_EQ(weights(3), weights(3));
  EXPECT_NE(weights(3), weights(4));
}

TEST(PpoRollouts, AStateBetweenRolloutsContinuesThemToTheBit) {
  const PpoRolloutOptions options = {.prompts = 6, .epochs = 1};
  Setting straight(options), resumed(options);
  straight.Next();
  resumed.rollouts->set_state(straight.rollouts->state());
  const PpoBatch a = straight.Next(), b = resumed.Next();
  EXPECT_EQ(a.packed.tokens, b.packed.tokens);
  EXPECT_EQ(a.advantages, b.advantages);
}

TEST(PpoRollouts, RefusesOptionsAndCompletionsThatDoNotFit) {
  const auto critic = TinyModel(2, false, true);
  PpoRolloutParts parts = {
      .generate = [](std::span<const std::vector<int32_t>> prompts, const Rng&)
          -> absl::StatusOr<std::vector<samplers::Completion>> {
        return std::vector<samplers::Completion>(prompts.size());
      },
      .reward = Liked,
      .reference = FrozenReference(*critic),
      .critic = critic.get()};
  EXPECT_EQ(
      SampleReplies(*critic, {.temperature = 0})({}, Rng(1)).status().code(),
      absl::StatusCode::kInvalidArgument);
  const auto code = [&](PromptBatch prompts, const PpoRolloutOptions& options) {
    return PpoRollouts::Create(std::move(prompts), parts, options, Rng(1))
        .status()
        .code();
  };
  EXPECT_EQ(code({}, {}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TinyPrompts(3), {.prompts = 2, .minibatches = 3}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(TinyPrompts(3), {.kl_coef = -1}),
            absl::StatusCode::kInvalidArgument);
  auto made = PpoRollouts::Create(TinyPrompts(3), parts, {}, Rng(1));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->Next().status().code(),
            absl::StatusCode::kInvalidArgument);  // empty completions
}

}  // namespace
}  // namespace align::train
