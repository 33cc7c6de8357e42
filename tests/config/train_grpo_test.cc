#include "align/config/train_grpo.h"

#include "tests/config/train_job_fixture.h"

namespace align {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class TrainGrpoTest : public TrainJobTest {
 protected:
  void SetUp() override {
    TrainJobTest::SetUp();
    config_.set_method("grpo");
    config_.clear_ppo();
    pb::GrpoConfig* grpo = config_.mutable_grpo();
    grpo->set_prompts_per_rollout(4);
    grpo->set_group_size(3);
    grpo->set_epochs(2);
    grpo->set_minibatches(2);
  }
  pb::LossConfig& Loss() {
    return config_.loss_size() > 0 ? *config_.mutable_loss(0)
                                   : *config_.add_loss();
  }
  void SetLossOption(const std::string& name, const std::string& value) {
    pb::LossOption* option = Loss().add_options();
    option->set_name(name);
    option->set_value(value);
  }
};

TEST_F(TrainGrpoTest, StoppedWithinARolloutAndResumedIsStraightThrough) {
  SetLossOption("beta", "0.05");
  CheckResume([this] { return Steps("resumed") >= 2; },
              {"/model/model.safetensors"});
}

TEST_F(TrainGrpoTest, ACoupledLossWithAnAdaptiveKlResumesToo) {
  Loss().set_name("dapo");
  SetLossOption("top_entropy_quantile", "0.5");
  config_.mutable_grpo()->mutable_advantage()->set_name("rloo");
  config_.mutable_grpo()->set_kl_coef(0.1);
  config_.mutable_grpo()->set_target_kl(0.01);
  config_.mutable_grpo()->set_kl_horizon(50);
  config_.mutable_grpo()->set_minibatches(4);
  config_.mutable_loop()->set_accumulation(2);
  CheckResume([this] { return Steps("resumed") >= 2; },
              {"/model/model.safetensors"});
}

TEST_F(TrainGrpoTest, MetricsHaveTrlsNamesAndTheFirstRatioIsOne) {
  SetLossOption("beta", "0.05");
  config_.mutable_loop()->set_steps(4);
  const absl::Status status = RunTrainJob(config_, path("out"));
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<std::string> lines = Metrics("out");
  ASSERT_EQ(lines.size(), 4u);
  for (const char* name :
       {"reward", "reward_std", "frac_reward_zero_std", "rewards/model/mean",
        "rewards/model/std", "completions/mean_length",
        "completions/min_length", "completions/max_length",
        "completions/clipped_ratio", "clip_ratio/low_mean",
        "clip_ratio/high_max", "clip_ratio/region_mean", "entropy",
        "num_tokens", "learning_rate"}) {
    EXPECT_THAT(lines[0], HasSubstr("\"" + std::string(name) + "\": "));
  }
  EXPECT_THAT(lines[0], HasSubstr("\"val/ratio\": 1.0"));
  EXPECT_THAT(lines[0], HasSubstr("\"kl\": 0.0,"));
  EXPECT_THAT(lines[3], Not(HasSubstr("\"kl\": 0.0,")));
}

TEST_F(TrainGrpoTest, SeveralRewardsAreWeighedAndNamed) {
  pb::RewardConfig* lexicon = config_.add_rewards();
  lexicon->set_lexicon(path("lexicon.txt"));
  lexicon->set_weight(0.5);
  lexicon->set_name("letters");
  config_.mutable_grpo()->mutable_advantage()->set_name("remax");
  Loss().set_name("reinforce");
  config_.mutable_loop()->set_steps(4);
  const absl::Status status = RunTrainJob(config_, path("out"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(Metrics("out")[0], HasSubstr("\"rewards/letters/mean\": "));
  EXPECT_THAT(Metrics("out")[0], HasSubstr("\"rewards/model/mean\": "));
}

TEST_F(TrainGrpoTest, AStepWithoutATokenToLearnFromDoesNotEndTheRun) {
  config_.mutable_sampling()->set_max_new_tokens(1);  // next to none ends
  config_.mutable_grpo()->set_mask_truncated_completions(true);
  config_.mutable_loop()->set_steps(4);
  const absl::Status status = RunTrainJob(config_, path("out"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Steps("out"), 4);
}

TEST_F(TrainGrpoTest, TheAccountOfMemoryHasAReferenceWhereOneIsNeeded) {
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  auto text = DescribeTrainJob(config_);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("policy: 10480 parameters"));
  EXPECT_THAT(*text, HasSubstr("reward model: 6368 parameters"));
  EXPECT_THAT(*text, Not(HasSubstr("reference:")));
  SetLossOption("beta", "0.05");
  EXPECT_THAT(*DescribeTrainJob(config_),
              HasSubstr("reference: 10480 parameters"));
}

TEST_F(TrainGrpoTest, DefaultsAreFilledInAndReadTheSameAgain) {
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_EQ(config_.loss(0).name(), "grpo");
  EXPECT_EQ(config_.grpo().advantage().name(), "group");
  EXPECT_EQ(config_.grpo().kl_coef(), 0);
  EXPECT_EQ(config_.grpo().coupling(), "global");
  const std::string text = ConfigText(config_);
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_EQ(ConfigText(config_), text);
  Loss().set_name("rloo");
  config_.mutable_grpo()->clear_advantage();
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_EQ(config_.grpo().advantage().name(), "rloo");
}

TEST_F(TrainGrpoTest, BadKeysAreRefusedByName) {
  const auto message = [&](const std::string& change) {
    pb::TrainConfig config = config_;
    const absl::Status applied = ApplyOverride(change, config);
    return Message(applied.ok() ? ResolveTrainConfig(config) : applied);
  };
  EXPECT_THAT(message("grpo.group_size=0"), HasSubstr("grpo.group_size: 0"));
  EXPECT_THAT(message("grpo.minibatches=5"), HasSubstr("grpo.minibatches: 5"));
  EXPECT_THAT(message("grpo.kl_coef=-1"), HasSubstr("grpo.kl_coef: -1"));
  EXPECT_THAT(message("grpo.target_kl=1"), HasSubstr("grpo.kl_coef: 0"));
  EXPECT_THAT(message("grpo.coupling=globl"), HasSubstr("grpo.coupling: "));
  EXPECT_THAT(message("grpo.advantage.name=groop"),
              HasSubstr("'groop' is unknown; did you mean 'group'?"));
  EXPECT_THAT(message("grpo.advantage.name=gae"), HasSubstr("a critic"));
  EXPECT_THAT(message("loss.name=gpro"), HasSubstr("loss: "));
  EXPECT_THAT(message("sampling.temperature=0"),
              HasSubstr("sampling.temperature: 0"));
  EXPECT_THAT(message("loop.steps=10"), HasSubstr("loop.steps: 10"));
  EXPECT_THAT(message("data.batch_size=4"), HasSubstr("data.batch_size:"));
  EXPECT_THAT(message("reward.lexicon=x"), HasSubstr("reward:"));
  EXPECT_THAT(message("reference.path=x"), HasSubstr("reference:"));
  EXPECT_THAT(message("ppo.epochs=1"), HasSubstr("ppo: not a key of"));
  EXPECT_THAT(message("method=ppo"), HasSubstr("grpo: not a key of"));
  config_.mutable_grpo()->set_kl_coef(0.1);
  EXPECT_THAT(message("grpo.kl_estimator=k4"),
              HasSubstr("kl_estimator = k4; expected k1 | k2 | k3 | abs"));
  config_.add_rewards()->set_model(path("reward"));
  EXPECT_THAT(message("loop.steps=12"), HasSubstr("rewards[0].name: 'model'"));
}

}  // namespace
}  // namespace align
