#include "align/config/train_gkd.h"

#include "tests/config/train_job_fixture.h"
#include "tests/support/tokenizer_json.h"

namespace align {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Five replies and a teacher that is not the policy.
class TrainGkdTest : public TrainJobTest {
 protected:
  void SetUp() override {
    TrainJobTest::SetUp();
    MakeModel("teacher", Architecture::kLlamaForCausalLM, 3);
    std::vector<pb::Record> records(5);
    for (size_t i = 0; i < records.size(); ++i) {
      pb::SftExample* sft = records[i].mutable_sft();
      sft->mutable_prompt()->set_text("number " + std::to_string(i));
      sft->set_completion("is " + std::string(i + 1, 'x'));
    }
    ASSERT_TRUE(WriteRecords(path("replies.tfrecord"), records).ok());
    config_.Clear();
    config_.set_method("gkd");
    config_.mutable_model()->set_path(path("policy"));
    config_.mutable_data()->add_train(path("replies.tfrecord"));
    config_.mutable_data()->set_batch_size(2);
    config_.mutable_loop()->set_steps(12);
    config_.mutable_loop()->set_accumulation(2);
    config_.mutable_optimizer()->set_learning_rate(1e-3);
    config_.mutable_sampling()->set_max_new_tokens(6);
    config_.mutable_gkd()->set_teacher(path("teacher"));
  }
  std::string Refusal(const std::string& change) const {
    pb::TrainConfig config = config_;
    const absl::Status applied = ApplyOverride(change, config);
    return Message(applied.ok() ? ResolveTrainConfig(config) : applied);
  }
  // The message of a run that does not start.
  std::string Failure() {
    config_.mutable_loop()->set_steps(1);
    return Message(RunTrainJob(config_, path("out")));
  }
};

TEST_F(TrainGkdTest, StoppedAndResumedIsStraightThrough) {
  CheckResume([this] { return Steps("resumed") >= 4; },
              {"/model/model.safetensors"});
  const std::vector<std::string> lines = Metrics("straight");
  int own = 0;
  for (const std::string& line : lines) {
    const bool sampled = line.find("\"on_policy_loss\"") != std::string::npos;
    EXPECT_EQ(line.find("\"off_policy_loss\"") == std::string::npos, sampled);
    EXPECT_EQ(line.find("\"completions/mean_length\"") != std::string::npos,
              sampled);
    own += sampled ? 1 : 0;
  }
  EXPECT_GT(own, 0);
  EXPECT_LT(own, 12);
}

TEST_F(TrainGkdTest, StoppedWhileItSamplesItGoesOnFromTheLastStep) {
  config_.mutable_gkd()->set_lmbda(1);
  // Polled after each step and between a reply's tokens: the last time within
  // step 5, whose first batch is sampled.
  int64_t polls = 0;
  CheckResume([this, &polls] { return Steps("resumed") >= 4 && ++polls > 4; },
              {"/model/model.safetensors"});
}

TEST_F(TrainGkdTest, PromptsAloneDoWhereSomebodyWritesTheReplies) {
  config_.mutable_data()->set_train(0, path("prompts.tfrecord"));
  EXPECT_THAT(Failure(), HasSubstr("has no reply"));
  config_.mutable_gkd()->set_seq_kd(true);
  EXPECT_EQ(Failure(), "");
}

TEST_F(TrainGkdTest, TheTeachersOwnRepliesAreOffPolicy) {
  config_.mutable_gkd()->set_seq_kd(true);
  config_.mutable_gkd()->set_lmbda(0);
  config_.mutable_loop()->set_steps(3);
  const absl::Status status = RunTrainJob(config_, path("out"));
  ASSERT_TRUE(status.ok()) << status;
  for (const std::string& line : Metrics("out")) {
    EXPECT_THAT(line, HasSubstr("\"off_policy_loss\": "));
    EXPECT_THAT(line, HasSubstr("\"completions/clipped_ratio\": "));
    EXPECT_THAT(line, HasSubstr("\"num_tokens\": "));
  }
}

TEST_F(TrainGkdTest, ATeacherOfOtherIdsIsRefused) {
  MakeModel("reward_like", Architecture::kLlamaForSequenceClassification, 5);
  config_.mutable_gkd()->set_teacher(path("reward_like"));
  EXPECT_THAT(Failure(), HasSubstr("gkd.teacher: " + path("reward_like")));

  ModelConfig shape;
  shape.vocab_size = 300;
  shape.hidden_size = 16;
  shape.intermediate_size = 24;
  shape.num_hidden_layers = 1;
  shape.num_attention_heads = shape.num_key_value_heads = 2;
  shape.head_dim = 8;
  const auto wide = CreateModel(shape, Rng(1));
  ASSERT_TRUE(wide.ok() && SaveModel(**wide, path("wide"), "").ok());
  config_.mutable_gkd()->set_teacher(path("wide"));
  EXPECT_THAT(Failure(), HasSubstr("has 300 ids; expected a language model of "
                                   "the student's 258"));
  config_.mutable_gkd()->set_teacher(path("nowhere"));
  EXPECT_THAT(Failure(), HasSubstr("gkd.teacher: "));
}

TEST_F(TrainGkdTest, ATeacherWithoutATokenizerOfItsOwnIsTaken) {
  std::filesystem::remove(path("teacher/tokenizer_config.json"));
  EXPECT_EQ(Failure(), "");
}

TEST_F(TrainGkdTest, ATeacherWhosePiecesDifferIsRefused) {
  // As many ids, another tokenizer: 258 made-up pieces.
  std::vector<std::string> pieces;
  for (int i = 0; i < 258; ++i) pieces.push_back("p" + std::to_string(i));
  Write("teacher/tokenizer.json",
        TokenizerJson{.model = BpeModel(pieces, {})}.Text());
  EXPECT_THAT(Failure(), HasSubstr("id 0 is 'p0'; expected"));
}

TEST_F(TrainGkdTest, NoRoomForRepliesIsSaidBeforehand) {
  config_.mutable_sampling()->set_max_new_tokens(30);
  EXPECT_THAT(Failure(), HasSubstr("sampling.max_new_tokens is more than the "
                                   "model's 32 positions"));
}

TEST_F(TrainGkdTest, TheAccountOfMemoryHasTheTeacher) {
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  const auto text = DescribeTrainJob(config_);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("teacher: 10480 parameters"));
  EXPECT_THAT(*text, Not(HasSubstr("reference:")));
}

TEST_F(TrainGkdTest, DefaultsAreTrlsAndReadTheSameAgain) {
  config_.clear_sampling();
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_EQ(config_.loss(0).name(), "jsd");
  EXPECT_EQ(config_.gkd().lmbda(), 0.5);
  EXPECT_FALSE(config_.gkd().seq_kd());
  EXPECT_EQ(config_.sampling().max_new_tokens(), 128);
  EXPECT_EQ(config_.sampling().temperature(), 0.9);
  const std::string text = ConfigText(config_);
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_EQ(ConfigText(config_), text);
}

TEST_F(TrainGkdTest, BadKeysAreRefusedByName) {
  EXPECT_THAT(Refusal("gkd.lmbda=1.5"), HasSubstr("gkd.lmbda: 1.5"));
  EXPECT_THAT(Refusal("gkd.lmbda=0"), HasSubstr("sampling: nothing"));
  EXPECT_THAT(Refusal("sampling.temperature=-1"),
              HasSubstr("sampling.temperature: -1"));
  EXPECT_THAT(Refusal("reference.path=x"), HasSubstr("reference: "));
  EXPECT_THAT(Refusal("reward.model=x"), HasSubstr("reward: "));
  EXPECT_THAT(Refusal("loss.name=jds"), HasSubstr("did you mean 'jsd'"));
  EXPECT_THAT(Refusal("loss.weight=2"), HasSubstr("loss.weight: "));
  EXPECT_THAT(Refusal("method=sft"), HasSubstr("sampling: "));
  config_.clear_sampling();
  EXPECT_THAT(Refusal("method=sft"), HasSubstr("gkd: not a key of"));
  config_.mutable_gkd()->clear_teacher();
  EXPECT_THAT(Refusal("gkd.seq_kd=true"), HasSubstr("gkd.teacher: expected"));
}

}  // namespace
}  // namespace align
