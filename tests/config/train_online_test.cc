#include "align/config/train_online.h"

#include "tests/config/train_job_fixture.h"

namespace align {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class TrainOnlineTest : public TrainJobTest {
 protected:
  void SetMethod(const std::string& method) {
    config_.set_method(method);
    config_.clear_ppo();
    pb::OnlineConfig* online = config_.mutable_online();
    online->set_prompts_per_rollout(4);
    online->set_epochs(2);
    online->set_minibatches(2);
  }
  void AddReward(const std::string& text) {
    const absl::Status parsed = ParseConfig(text, "test", config_);
    ASSERT_TRUE(parsed.ok()) << parsed;
  }
  // The first line of a run of four steps.
  std::string FirstLine() {
    config_.mutable_loop()->set_steps(4);
    const absl::Status status = RunTrainJob(config_, path("out"));
    EXPECT_TRUE(status.ok()) << status;
    const std::vector<std::string> lines = Metrics("out");
    return lines.empty() ? "" : lines[0];
  }
};

TEST_F(TrainOnlineTest, OnlineDpoStoppedAndResumedIsStraightThrough) {
  SetMethod("online_dpo");
  config_.mutable_online()->set_group_size(3);
  config_.mutable_online()->set_missing_eos_penalty(0.1);
  CheckResume([this] { return Steps("resumed") >= 2; },
              {"/model/model.safetensors"});
}

TEST_F(TrainOnlineTest, ALossWithAStateResumesToo) {
  SetMethod("online_dpo");
  SetLosses(R"(loss { name: "sigmoid" weight: 0.8 }
               loss { name: "bco_pair" weight: 0.2 })");
  CheckResume([this] { return Steps("resumed") >= 2; },
              {"/model/model.safetensors"});
}

TEST_F(TrainOnlineTest, XpoStoppedAndResumedIsStraightThrough) {
  SetMethod("xpo");
  CheckResume([this] { return Steps("resumed") >= 2; },
              {"/model/model.safetensors"});
}

TEST_F(TrainOnlineTest, NashMdStoppedAndResumedIsStraightThrough) {
  SetMethod("nash_md");
  CheckResume([this] { return Steps("resumed") >= 2; },
              {"/model/model.safetensors"});
}

TEST_F(TrainOnlineTest, OnlineDpoStartsAtTheReferenceAndHasTrlsMetrics) {
  SetMethod("online_dpo");
  const std::string line = FirstLine();
  for (const char* name :
       {"objective/kl", "objective/entropy", "objective/non_score_reward",
        "objective/rlhf_reward", "objective/scores", "objective/scores_margin",
        "rewards/chosen", "rewards/rejected", "rewards/accuracies",
        "rewards/margins", "logps/chosen", "logps/rejected",
        "val/contain_eos_token", "beta"}) {
    EXPECT_THAT(line, HasSubstr("\"" + std::string(name) + "\": "));
  }
  EXPECT_THAT(line, HasSubstr("\"rewards/margins\": 0.0"));
  EXPECT_THAT(line, HasSubstr("\"loss\": 0.69314718"));
}

TEST_F(TrainOnlineTest, XpoAndNashMdHaveTrlsMetrics) {
  SetMethod("xpo");
  SetLosses(R"(loss { name: "xpo" options { name: "alpha" value: "0.001" } })");
  const std::string xpo = FirstLine();
  for (const char* name :
       {"loss/dpo", "loss/xpo", "objective/model_scores",
        "objective/ref_scores", "val/model_contain_eos_token"}) {
    EXPECT_THAT(xpo, HasSubstr("\"" + std::string(name) + "\": "));
  }
  EXPECT_THAT(xpo, HasSubstr("\"alpha\": 0.001"));
  std::filesystem::remove_all(path("out"));
  config_.clear_loss();
  SetMethod("nash_md");
  const std::string nash = FirstLine();
  for (const char* name : {"loss/score", "loss/kl", "rewards/probabilities",
                           "logps/chosen", "val/ref_contain_eos_token"}) {
    EXPECT_THAT(nash, HasSubstr("\"" + std::string(name) + "\": "));
  }
  EXPECT_THAT(nash, HasSubstr("\"val/ratio\": 1.0"));
  EXPECT_THAT(nash, HasSubstr("\"mixture_coef\": 0.5"));
}

// Answers of the records decide; a format that is rewarded besides.
TEST_F(TrainOnlineTest, AnswersOfRecordsAreARewardOfEveryMethod) {
  std::vector<pb::Record> records(4);
  for (size_t i = 0; i < records.size(); ++i) {
    records[i].mutable_prompt()->mutable_prompt()->set_text(
        "2 + " + std::to_string(i) + " = ");
    records[i].mutable_prompt()->set_answer("#### " + std::to_string(2 + i));
  }
  ASSERT_TRUE(WriteRecords(path("sums.tfrecord"), records).ok());
  config_.clear_reward();
  config_.mutable_data()->clear_train();
  config_.mutable_data()->add_train(path("sums.tfrecord"));
  const pb::TrainConfig plain = config_;
  for (const char* method : {"grpo", "online_dpo", "xpo", "nash_md", "ppo"}) {
    SCOPED_TRACE(method);
    std::filesystem::remove_all(path("out"));
    config_ = plain;
    config_.set_method(method);
    AddReward(R"(reward { rule: "answer" })");
    if (config_.method() == "ppo") {
      config_.mutable_ppo()->set_critic("shared");
    } else {
      config_.clear_ppo();
      AddReward(R"(rewards { rule: "answer_format" weight: 0.2 })");
    }
    EXPECT_THAT(FirstLine(), HasSubstr("\"loss\": "));
    if (config_.method() != "grpo") continue;
    EXPECT_THAT(Metrics("out")[0], HasSubstr("\"rewards/answer/mean\": "));
    EXPECT_THAT(Metrics("out")[0],
                HasSubstr("\"rewards/answer_format/mean\": "));
  }
}

TEST_F(TrainOnlineTest, AnswersMustBeInTheRecords) {
  SetMethod("online_dpo");
  config_.clear_reward();
  AddReward(R"(reward { rule: "answer" })");
  EXPECT_THAT(Message(RunTrainJob(config_, path("out"))),
              HasSubstr("reward.rule: answers: no prompt has one"));
}

TEST_F(TrainOnlineTest, DefaultsAreFilledInAndReadTheSameAgain) {
  const std::vector<std::pair<std::string, std::string>> methods = {
      {"online_dpo", "sigmoid"}, {"xpo", "xpo"}, {"nash_md", "nash_md"}};
  const pb::TrainConfig plain = config_;
  for (const auto& [method, loss] : methods) {
    config_ = plain;
    SetMethod(method);
    const absl::Status resolved = ResolveTrainConfig(config_);
    ASSERT_TRUE(resolved.ok()) << resolved;
    EXPECT_EQ(config_.loss(0).name(), loss);
    EXPECT_EQ(config_.online().has_group_size(), method == "online_dpo");
    EXPECT_EQ(config_.online().has_ties(), method != "nash_md");
    EXPECT_EQ(config_.online().has_mixture_coef(), method == "nash_md");
    const std::string text = ConfigText(config_);
    ASSERT_TRUE(ResolveTrainConfig(config_).ok());
    EXPECT_EQ(ConfigText(config_), text);
    const auto account = DescribeTrainJob(config_);
    ASSERT_TRUE(account.ok()) << account.status();
    EXPECT_THAT(*account, HasSubstr("reference: 10480 parameters"));
    EXPECT_THAT(*account, HasSubstr("reward model: 6368 parameters"));
  }
  config_ = plain;
  SetMethod("online_dpo");
  SetLosses(R"(loss { name: "simpo" })");
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_THAT(*DescribeTrainJob(config_), Not(HasSubstr("reference:")));
}

TEST_F(TrainOnlineTest, BadKeysAreRefusedByName) {
  SetMethod("online_dpo");
  const auto message = [&](const std::string& change) {
    pb::TrainConfig config = config_;
    const absl::Status applied = ApplyOverride(change, config);
    return Message(applied.ok() ? ResolveTrainConfig(config) : applied);
  };
  EXPECT_THAT(message("online.group_size=1"),
              HasSubstr("online.group_size: 1"));
  EXPECT_THAT(message("online.minibatches=5"),
              HasSubstr("online.minibatches: 5"));
  EXPECT_THAT(message("online.ties=frist"), HasSubstr("did you mean 'first'"));
  EXPECT_THAT(message("online.mixture_coef=0.5"),
              HasSubstr("online.mixture_coef: not a key of method"));
  EXPECT_THAT(message("online.missing_eos_penalty=-1"),
              HasSubstr("online.missing_eos_penalty: -1"));
  EXPECT_THAT(message("sampling.temperature=0"),
              HasSubstr("sampling.temperature: 0"));
  EXPECT_THAT(message("loop.steps=10"), HasSubstr("loop.steps: 10"));
  EXPECT_THAT(message("data.batch_size=4"),
              HasSubstr("online.prompts_per_rollout / online.minibatches"));
  EXPECT_THAT(message("reward.rule=answer"), HasSubstr("exactly one of"));
  EXPECT_THAT(message("method=grpo"), HasSubstr("online: not a key of"));
  SetLosses(R"(loss { name: "xpo" })");
  EXPECT_THAT(message("loop.steps=12"), HasSubstr("expected method 'xpo'"));
  config_.clear_loss();
  SetMethod("xpo");
  EXPECT_THAT(message("online.group_size=4"),
              HasSubstr("online.group_size: not a key of method 'xpo'"));
  SetLosses(R"(loss { name: "sigmoid" })");
  EXPECT_THAT(message("loop.steps=12"), HasSubstr("loss: expected 'xpo'"));
  config_.clear_loss();
  SetMethod("nash_md");
  EXPECT_THAT(message("online.mixture_coef=2"),
              HasSubstr("online.mixture_coef: 2"));
  EXPECT_THAT(message("online.preference=soft"),
              HasSubstr("online.preference:"));
  EXPECT_THAT(message("online.ties=skip"), HasSubstr("online.ties: not a key"));
  config_.clear_reward();
  config_.mutable_reward()->set_rule("anser");
  EXPECT_THAT(message("loop.steps=12"), HasSubstr("did you mean 'answer'"));
}

TEST_F(TrainOnlineTest, OfflinePairsDoNotTakeXpo) {
  LearnFromRecords("preference");
  SetLosses(R"(loss { name: "xpo" })");
  EXPECT_THAT(Message(ResolveTrainConfig(config_)),
              HasSubstr("expected method 'xpo'"));
}

}  // namespace
}  // namespace align
