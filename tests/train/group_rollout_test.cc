#include "align/train/group_rollout.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "align/dnnl/matmul.h"
#include "align/train/optimizer.h"
#include "gtest/gtest.h"
#include "losses/policy_registry.h"
#include "tests/train/liked_tokens.h"

namespace align::train {
namespace {

constexpr int32_t kStop = 7;
constexpr int64_t kLength = 8;

struct SettingOptions {
  GroupRolloutOptions rollout;
  std::string advantage = "group";
  std::vector<std::pair<std::string, std::string>> advantage_options;
  double temperature = 0.8;
  uint64_t reference_seed = 0;  // 0: no reference
  std::vector<WeightedReward> rewards = {{.name = "liked", .score = Liked}};
};

// A policy and rollouts of it.
struct Setting {
  explicit Setting(SettingOptions options) : policy(TinyModel(1)) {
    policy->params().EnableGradients();
    const samplers::SamplingOptions sampling = {
        .max_new_tokens = kLength,
        .temperature = options.temperature,
        .stop_ids = {kStop}};
    const auto advantage =
        MakeAdvantage(options.advantage, options.advantage_options);
    ALIGN_CHECK(advantage.ok()) << advantage.status().ToString();
    GroupRolloutParts parts = {
        .generate = SampleReplies(*policy, sampling, nullptr,
                                  options.rollout.group_size),
        .greedy = GreedyReplies(*policy, sampling),
        .rewards = std::move(options.rewards),
        .advantage = *advantage};
    if (options.reference_seed > 0) {
      reference = TinyModel(options.reference_seed);
      parts.reference = FrozenReference(*reference, options.temperature);
    }
    auto made = GroupRollouts::Create(TinyPrompts(10), std::move(parts),
                                      options.rollout, Rng(3));
    ALIGN_CHECK(made.ok()) << made.status().ToString();
    rollouts = *std::move(made);
  }

  PolicyBatch Next() {
    auto batch = rollouts->Next();
    ALIGN_CHECK(batch.ok() && batch->has_value()) << batch.status().ToString();
    return **std::move(batch);
  }
  // The rewards of the last rollout's completions, before weights.
  Eigen::ArrayXd Rewards(Eigen::Index function = 0) const {
    return rollouts->rollout().inputs.rewards_per_function.col(function);
  }

  std::unique_ptr<Model> policy, reference;
  std::unique_ptr<GroupRollouts> rollouts;
};

double Mean(const PolicyBatch& batch, const std::string& name) {
  const MetricSum metric = batch.rollout_metrics.at(name);
  return metric.sum / metric.weight;
}

TEST(GroupRollouts, APromptIsOneSegmentThatItsGroupShares) {
  Setting setting({.rollout = {.prompts = 3, .group_size = 4}});
  const PolicyBatch batch = setting.Next();
  EXPECT_EQ(batch.packed.sequences, 12);
  EXPECT_EQ(batch.packed.segments.count(), 3 * (1 + 4));
  int64_t rows = 0;
  for (const auto& prompt : setting.rollouts->rollout().prompts) {
    rows += static_cast<int64_t>(prompt.size());
  }
  for (const auto& reply : setting.rollouts->rollout().completions) {
    rows += static_cast<int64_t>(reply.size());
  }
  EXPECT_EQ(batch.packed.rows(), rows);
  EXPECT_EQ(setting.rollouts->state().tokens_trained, rows);
  EXPECT_EQ(batch.old_log_probs.size(), batch.packed.scored.size());
  EXPECT_EQ(std::set<std::string>(batch.ids.begin(), batch.ids.end()).size(),
            12u);
}

TEST(GroupRollouts, TheSamplersLogProbsAreTheScorersToTheBit) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  Setting setting({.rollout = {.prompts = 4, .group_size = 3}});
  const PolicyBatch batch = setting.Next();
  const auto scored = FrozenReference(*setting.policy, 0.8)(batch.packed);
  ASSERT_TRUE(scored.ok());
  EXPECT_EQ(std::vector<double>(scored->begin(), scored->end()),
            batch.old_log_probs);
}

TEST(GroupRollouts, AdvantagesOfTwoAreHalfTheirDifference) {
  Setting setting({.rollout = {.prompts = 6, .group_size = 2},
                   .advantage_options = {{"scale_rewards", "none"}}});
  setting.Next();
  const Eigen::ArrayXd rewards = setting.Rewards();
  const Eigen::ArrayXd& got = setting.rollouts->rollout().advantages.advantages;
  double largest = 0;
  for (Eigen::Index i = 0; i < rewards.size(); i += 2) {
    const double half = (rewards[i] - rewards[i + 1]) / 2;
    largest = std::max(largest, std::abs(half));
    EXPECT_NEAR(got[i], half, 1e-12);
    EXPECT_NEAR(got[i + 1], -half, 1e-12);
  }
  EXPECT_GT(largest, 0);
}

TEST(GroupRollouts, BatchesCarryTheAdvantagesOfTheirOwnCompletions) {
  Setting setting(
      {.rollout = {
           .prompts = 5, .group_size = 2, .epochs = 2, .minibatches = 2}});
  for (int i = 0; i < 4; ++i) {
    const PolicyBatch batch = setting.Next();
    const GroupRollout& rollout = setting.rollouts->rollout();
    const std::vector<int64_t> offsets = batch.packed.ScoredOffsets();
    for (int32_t s = 0; s < batch.packed.sequences; ++s) {
      const std::string id = batch.ids[s].substr(0, batch.ids[s].find('#'));
      const auto group =
          std::ranges::find(rollout.ids, id) - rollout.ids.begin();
      const auto n = 2 * group + (batch.ids[s].back() - '0');
      EXPECT_EQ(batch.advantages[s], rollout.advantages.advantages[n]);
      EXPECT_EQ(batch.old_log_probs[offsets[s]],
                rollout.log_probs[rollout.inputs.offsets[n]]);
    }
  }
  EXPECT_TRUE(setting.rollouts->between_rollouts());
}

TEST(GroupRollouts, LeaveOneOutTakesTheMeanOfTheOthers) {
  Setting setting(
      {.rollout = {.prompts = 3, .group_size = 4}, .advantage = "rloo"});
  setting.Next();
  const Eigen::ArrayXd rewards = setting.Rewards();
  const Eigen::ArrayXd& got = setting.rollouts->rollout().advantages.advantages;
  for (Eigen::Index i = 0; i < rewards.size(); ++i) {
    const double sum = rewards.segment(i / 4 * 4, 4).sum();
    EXPECT_NEAR(got[i], rewards[i] - (sum - rewards[i]) / 3, 1e-12);
  }
}

TEST(GroupRollouts, RewardsAreSummedWithTheirWeights) {
  const RewardFunction length = RewardByReply(
      [](const std::vector<int32_t>& reply) -> double { return reply.size(); });
  Setting setting({.rollout = {.prompts = 3, .group_size = 4},
                   .advantage_options = {{"scale_rewards", "none"}},
                   .rewards = {{"liked", Liked, 2}, {"length", length, -0.5}}});
  const PolicyBatch batch = setting.Next();
  const Eigen::ArrayXd sums = 2 * setting.Rewards(0) - 0.5 * setting.Rewards(1);
  EXPECT_NEAR(Mean(batch, "reward"), sums.mean(), 1e-12);
  EXPECT_NEAR(Mean(batch, "rewards/length/mean"), setting.Rewards(1).mean(),
              1e-12);
  const Eigen::ArrayXd& got = setting.rollouts->rollout().advantages.advantages;
  for (Eigen::Index i = 0; i < sums.size(); ++i) {
    EXPECT_NEAR(got[i], sums[i] - sums.segment(i / 4 * 4, 4).mean(), 1e-12);
  }
}

TEST(GroupRollouts, AReplyWithoutAScoreTeachesNothingAndIsNoBaseline) {
  const RewardFunction long_only =
      RewardByReply([](const std::vector<int32_t>& reply) {
        return reply.size() < kLength ? std::nan("") : reply[0] * 1.0;
      });
  Setting setting({.rollout = {.prompts = 8, .group_size = 4},
                   .advantage = "rloo",
                   .temperature = 1.5,
                   .rewards = {{"long", long_only}}});
  setting.Next();
  const Eigen::ArrayXd rewards = setting.Rewards();
  const Eigen::ArrayXd& got = setting.rollouts->rollout().advantages.advantages;
  int unscored = 0, compared = 0;
  for (Eigen::Index i = 0; i < rewards.size(); ++i) {
    double sum = 0, count = 0;
    for (double other : rewards.segment(i / 4 * 4, 4)) {
      if (!std::isnan(other)) sum += other, ++count;
    }
    if (std::isnan(rewards[i])) {
      EXPECT_EQ(got[i], 0);
      ++unscored;
    } else if (count > 1) {
      EXPECT_NEAR(got[i], rewards[i] - (sum - rewards[i]) / (count - 1), 1e-12);
      ++compared;
    }
  }
  EXPECT_GT(unscored, 0);
  EXPECT_GT(compared, 0);
}

TEST(GroupRollouts, RemaxSubtractsTheRewardOfTheGreedyReply) {
  Setting setting(
      {.rollout = {.prompts = 4, .group_size = 2}, .advantage = "remax"});
  setting.Next();
  const GroupRollout& rollout = setting.rollouts->rollout();
  const auto greedy = samplers::Generate(
      *setting.policy, rollout.prompts, 1,
      {.max_new_tokens = kLength, .temperature = 0, .stop_ids = {kStop}},
      Rng(1));
  ASSERT_TRUE(greedy.ok());
  for (int64_t i = 0; i < 8; ++i) {
    const auto& reply = (*greedy)[i / 2].tokens;
    const double baseline = (*Liked({}, std::span(&reply, 1)))[0];
    EXPECT_NEAR(rollout.advantages.token_advantages[rollout.inputs.offsets[i]],
                setting.Rewards()[i] - baseline, 1e-12);
  }
}

TEST(GroupRollouts, MaskedTruncatedRepliesAreComparedButNotLearned) {
  SettingOptions options = {.rollout = {.prompts = 8, .group_size = 4},
                            .temperature = 1.5};
  Setting plain(options);
  options.rollout.mask_truncated_completions = true;
  Setting masked(options);
  const PolicyBatch a = plain.Next(), b = masked.Next();
  EXPECT_EQ(a.advantages, b.advantages);
  const std::vector<int64_t> offsets = b.packed.ScoredOffsets();
  const GroupRollout& rollout = masked.rollouts->rollout();
  int truncated = 0;
  std::map<std::string, int64_t> group_of;
  for (size_t g = 0; g < rollout.ids.size(); ++g) group_of[rollout.ids[g]] = g;
  for (int32_t s = 0; s < b.packed.sequences; ++s) {
    const std::string id = b.ids[s].substr(0, b.ids[s].find('#'));
    const int64_t n = 4 * group_of[id] + (b.ids[s].back() - '0');
    EXPECT_EQ(offsets[s] == offsets[s + 1], !rollout.stopped[n]);
    truncated += rollout.stopped[n] ? 0 : 1;
  }
  EXPECT_GT(truncated, 0);
  EXPECT_LT(truncated, 32);
  EXPECT_EQ(Mean(b, "completions/clipped_ratio"), truncated / 32.0);
  EXPECT_LT(b.packed.rows(), a.packed.rows());
}

TEST(GroupRollouts, APenaltyIsARewardOfRepliesThatDoNotEnd) {
  Setting setting(
      {.rollout = {.prompts = 8, .group_size = 4, .missing_eos_penalty = 0.5},
       .temperature = 1.5});
  const PolicyBatch batch = setting.Next();
  EXPECT_NEAR(Mean(batch, "reward"),
              Mean(batch, "rewards/liked/mean") -
                  0.5 * Mean(batch, "completions/clipped_ratio"),
              1e-12);
}

TEST(GroupRollouts, KlInTheRewardIsZeroWhereThePolicyIsTheReference) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto advantages = [](uint64_t reference, double kl_coef, double* kl) {
    Setting setting({.rollout = {.prompts = 4,
                                 .group_size = 4,
                                 .max_tokens = 40,
                                 .kl_coef = kl_coef},
                     .advantage = "rloo",
                     .reference_seed = reference});
    const PolicyBatch batch = setting.Next();
    if (kl_coef > 0) *kl = Mean(batch, "objective/kl");
    return batch.advantages;
  };
  double same = 1, other = 0;
  EXPECT_EQ(advantages(1, 0.1, &same), advantages(0, 0, nullptr));
  EXPECT_EQ(same, 0);
  EXPECT_NE(advantages(9, 0.1, &other), advantages(0, 0, nullptr));
  EXPECT_GT(other, 1);
}

TEST(GroupRollouts, MetricsAreThoseOfTheWholeRollout) {
  Setting setting(
      {.rollout = {.prompts = 6, .group_size = 4, .minibatches = 3}});
  const PolicyBatch batch = setting.Next();
  const Eigen::ArrayXd rewards = setting.Rewards();
  double deviations = 0;
  for (Eigen::Index g = 0; g < 6; ++g) {
    const Eigen::ArrayXd group = rewards.segment(4 * g, 4);
    deviations += std::sqrt((group - group.mean()).square().sum() / 3);
  }
  EXPECT_NEAR(Mean(batch, "reward"), rewards.mean(), 1e-12);
  EXPECT_NEAR(Mean(batch, "reward_std"), deviations / 6, 1e-12);
  EXPECT_LE(Mean(batch, "completions/max_length"), kLength);
  EXPECT_GE(Mean(batch, "completions/mean_length"),
            Mean(batch, "completions/min_length"));
  EXPECT_EQ(setting.Next().rollout_metrics.at("reward").sum,
            batch.rollout_metrics.at("reward").sum);
}

TEST(GroupRollouts, AStateBetweenRolloutsContinuesThemToTheBit) {
  const SettingOptions options = {.rollout = {.prompts = 4, .group_size = 2}};
  Setting straight(options), resumed(options);
  straight.Next();
  resumed.rollouts->set_state(straight.rollouts->state());
  const PolicyBatch a = straight.Next(), b = resumed.Next();
  EXPECT_EQ(a.packed.tokens, b.packed.tokens);
  EXPECT_EQ(a.advantages, b.advantages);
  EXPECT_EQ(a.old_log_probs, b.old_log_probs);
}

TEST(GroupRollouts, RefusesWhatCannotBeSampledOrCompared) {
  const auto policy = TinyModel(1);
  const auto code = [&](const GroupRolloutOptions& options,
                        const std::string& advantage,
                        std::vector<std::pair<std::string, std::string>> values,
                        bool reward, bool reference) {
    GroupRolloutParts parts = {
        .generate = SampleReplies(*policy, {.max_new_tokens = 4}, nullptr, 2),
        .advantage = *MakeAdvantage(advantage, values)};
    if (reward) parts.rewards = {{"liked", Liked}};
    if (reference) parts.reference = FrozenReference(*policy);
    auto made = GroupRollouts::Create(TinyPrompts(3), std::move(parts), options,
                                      Rng(1));
    if (!made.ok()) return made.status().code();
    return (*made)->Next().status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code({.prompts = 2, .group_size = 2}, "group", {}, true, false),
            absl::StatusCode::kOk);
  // The generator gives two a prompt.
  EXPECT_EQ(code({.prompts = 2, .group_size = 3}, "group", {}, true, false),
            kInvalid);
  EXPECT_EQ(code({.group_size = 0}, "group", {}, true, false), kInvalid);
  EXPECT_EQ(code({.prompts = 2, .minibatches = 3}, "group", {}, true, false),
            kInvalid);
  EXPECT_EQ(code({}, "gae", {}, true, false), kInvalid);
  EXPECT_EQ(code({}, "group", {}, false, false), kInvalid);
  EXPECT_EQ(code({.kl_coef = 0.1}, "rloo", {}, true, false), kInvalid);
  EXPECT_EQ(
      code({.kl_coef = 0.1}, "group",
           {{"multi_objective_aggregation", "normalize_then_sum"}}, true, true),
      kInvalid);
  EXPECT_EQ(MakeAdvantage("groop").status().code(), kInvalid);
  EXPECT_EQ(MakeAdvantage("group", {{"epsilon", "-1"}}).status().code(),
            kInvalid);
}

// Trains `loss` for some rollouts; the reports of the steps.
std::vector<StepReport> TrainOn(Setting& setting, const std::string& loss_name,
                                int64_t accumulation) {
  const auto loss = MakePolicyLoss(loss_name);
  ALIGN_CHECK(loss.ok()) << loss.status().ToString();
  const std::vector<ParamStore*> stores = {&setting.policy->params()};
  Optimizer optimizer({.learning_rate = 1e-2}, {}, stores);
  std::vector<StepReport> reports;
  const Observer keep = [&](const StepReport& report) {
    reports.push_back(report);
    return ObserverResult();
  };
  const auto run =
      RunLoop({.accumulation = accumulation},
              BindPolicy([&setting] { return setting.rollouts->Next(); },
                         *setting.policy, *loss,
                         {.temperature = 0.8,
                          .max_completion_length = kLength,
                          .entropy = true},
                         accumulation),
              stores, optimizer, {keep});
  ALIGN_CHECK(run.ok()) << run.status().ToString();
  return reports;
}

class EveryPolicyLoss : public testing::TestWithParam<std::string> {};

TEST_P(EveryPolicyLoss, RaisesAVerifiableRewardAndStartsAtRatioOne) {
  const bool kl = losses::MakePolicyLoss(GetParam()).needs.reference;
  Setting setting({.rollout = {.prompts = 8,
                               .group_size = 8,
                               .rollouts = 25,
                               .epochs = 2,
                               .minibatches = 2},
                   .reference_seed = kl ? 1u : 0u});
  const std::vector<StepReport> reports = TrainOn(setting, GetParam(), 2);
  ASSERT_EQ(reports.size(), 50u);
  const absl::Status status = CheckInitialRatios(reports.front());
  EXPECT_TRUE(status.ok()) << Message(status);
  for (const StepReport& report : reports) EXPECT_FALSE(report.skipped);
  EXPECT_GT(reports.back().metrics.at("reward"),
            reports.front().metrics.at("reward") + 0.2);
}

std::vector<std::string> LossNames() {
  std::vector<std::string> names;
  for (const auto& entry : losses::PolicyLosses()) names.push_back(entry.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Registry, EveryPolicyLoss,
                         testing::ValuesIn(LossNames()),
                         [](const auto& info) { return info.param; });

TEST(GroupRollouts, EveryEstimatorWithoutACriticRaisesAVerifiableReward) {
  for (const char* name : {"group", "rloo", "opo", "reinforce_plus_plus",
                           "reinforce_plus_plus_baseline", "remax"}) {
    Setting setting({.rollout = {.prompts = 8, .group_size = 8, .rollouts = 20},
                     .advantage = name});
    const std::vector<StepReport> reports = TrainOn(setting, "reinforce", 1);
    EXPECT_GT(reports.back().metrics.at("reward"),
              reports.front().metrics.at("reward") + 0.15)
        << name;
  }
}

}  // namespace
}  // namespace align::train
