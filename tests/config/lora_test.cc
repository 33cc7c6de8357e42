// Training runs with model.lora.

#include "align/config/lora.h"

#include "align/models/peft.h"
#include "align/models/safetensors.h"
#include "tests/config/train_job_fixture.h"

namespace align {
namespace {

using ::testing::HasSubstr;

class LoraJobTest : public TrainJobTest {
 protected:
  void SetLora(const std::string& text = "rank: 4") {
    SetLosses("model { lora { " + text + " } }");
  }
  // Stopped and continued is straight through, and what comes out is a PEFT
  // directory on an untouched base.
  void CheckAdapters() {
    const std::string base = Read("policy/model.safetensors");
    CheckResume(
        [this] { return Steps("resumed") >= 4; },
        {"/model/adapter_model.safetensors", "/model/adapter_config.json"});
    EXPECT_EQ(Read("policy/model.safetensors"), base);
    const auto start = LoadModel(path("policy"));
    const auto trained = LoadModel(path("straight/model"));
    ASSERT_TRUE(trained.ok()) << trained.status();
    EXPECT_NE((*trained)->params().Hash(), (*start)->params().Hash());
  }
  std::string Refusal() { return Message(RunTrainJob(config_, path("out"))); }
};

TEST_F(LoraJobTest, SftResumesAndSavesAdapters) {
  std::vector<pb::Record> records(5);
  for (size_t i = 0; i < records.size(); ++i) {
    pb::SftExample* example = records[i].mutable_sft();
    example->mutable_prompt()->set_text("number " + std::to_string(i));
    example->set_completion("good");
  }
  LearnFromRecords("sft");
  ASSERT_TRUE(WriteRecords(path("pairs.tfrecord"), records).ok());
  SetLora(
      "rank: 4 dropout: 0.2 use_rslora: true target: \"q_proj\" "
      "target: \"up_proj\"");
  CheckAdapters();
  const auto file =
      SafetensorsFile::Open(path("straight/model/adapter_model.safetensors"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->tensors().size(), 4u);
  EXPECT_THAT(Read("straight/config.textproto"), HasSubstr("alpha: 16"));
}

TEST_F(LoraJobTest, PreferenceResumesAndItsFirstMarginsAreZero) {
  LearnFromRecords("preference");
  SetLora("rank: 4 dropout: 0.1 use_dora: true");
  CheckAdapters();
  // Zero but for rounding: with dropout, DoRA sums W x' and W (x - x').
  const std::string first = Metrics("straight")[0];
  const std::string key = "\"rewards/margins\": ";
  ASSERT_THAT(first, HasSubstr(key));
  EXPECT_NEAR(std::stod(first.substr(first.find(key) + key.size())), 0, 1e-6);
  // Checkpoints hold the adapters and no weight of the base.
  const auto file = SafetensorsFile::Open(
      path("straight/checkpoints/step-000012/policy.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status();
  for (const TensorInfo& tensor : file->tensors()) {
    EXPECT_THAT(tensor.name, HasSubstr(".lora_"));
  }
}

TEST_F(LoraJobTest, UnpairedResumes) {
  LearnFromRecords("unpaired");
  SetLora();
  CheckAdapters();
  EXPECT_THAT(Metrics("straight")[0], HasSubstr("\"kl\": 0.0"));
}

TEST_F(LoraJobTest, ARewardModelsAdaptersTakeItsHeadAlong) {
  LearnFromRecords("reward");
  SetLora();
  CheckAdapters();
  const auto model = LoadModel(path("straight/model"));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE((*model)->config().classifier());
  // It is a reward like any other.
  config_.Clear();
  SetUp();
  config_.mutable_reward()->set_model(path("straight/model"));
  config_.mutable_loop()->set_steps(4);
  SetLora();
  const absl::Status run = RunTrainJob(config_, path("ppo"));
  EXPECT_TRUE(run.ok()) << run;
}

TEST_F(LoraJobTest, PpoResumesWithEitherCritic) {
  SetLora();
  CheckAdapters();
  for (const char* run : {"straight", "resumed"}) {
    std::filesystem::remove_all(path(run));
  }
  config_.mutable_ppo()->set_critic("shared");
  CheckAdapters();
  EXPECT_TRUE(FileExists(path("straight/model/value_head.safetensors")));
}

TEST_F(LoraJobTest, GrpoResumesAgainstAdaptersOff) {
  config_.set_method("grpo");
  config_.clear_ppo();
  SetLosses(R"(grpo { prompts_per_rollout: 4 group_size: 3 epochs: 2
                      minibatches: 2 }
               loss { options { name: "beta" value: "0.05" } })");
  SetLora("rank: 4 use_dora: true");
  CheckAdapters();
}

TEST_F(LoraJobTest, AdaptersOfADirectoryGoOnLearningOnTheirBase) {
  LearnFromRecords("preference");
  SetLora("rank: 3 alpha: 5");
  config_.mutable_loop()->set_steps(2);
  ASSERT_TRUE(RunTrainJob(config_, path("first")).ok());
  config_.mutable_model()->set_path(path("first/model"));
  config_.mutable_model()->mutable_lora()->Clear();
  const absl::Status second = RunTrainJob(config_, path("second"));
  ASSERT_TRUE(second.ok()) << second;
  // The reference is the start, adapters and all, so margins are 0 again.
  EXPECT_THAT(Metrics("second")[0], HasSubstr("\"rewards/margins\": 0.0"));
  const auto trained = LoadAdaptedModel(path("second/model"));
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_EQ((*trained)->adapters()->options().alpha, 5);
  EXPECT_THAT(Read("second/model/adapter_config.json"),
              HasSubstr("\"base_model_name_or_path\": \"" + path("policy")));
  SetLora("rank: 4");
  EXPECT_THAT(Refusal(), HasSubstr("model.lora.rank: 4"));
  // Without model.lora all of the merged model is trained.
  config_.mutable_model()->clear_lora();
  ASSERT_TRUE(RunTrainJob(config_, path("whole")).ok());
  EXPECT_TRUE(FileExists(path("whole/model/model.safetensors")));
  EXPECT_FALSE(IsAdapterDirectory(path("whole/model")));
}

TEST_F(LoraJobTest, TheAccountOfMemoryHasNoReferenceAndTheAdaptersAlone) {
  LearnFromRecords("preference");
  SetLora("rank: 2 target: \"q_proj\"");
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  const auto text = DescribeTrainJob(config_);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("policy: 10480 parameters, 1 MB for weights\n"
                               "adapters: 64 parameters, 1 MB for weights, "
                               "gradients and moments\n"
                               "reference (adapters off): 0 parameters"));
}

TEST_F(LoraJobTest, BadKeysAreRefusedByName) {
  SetLora("dropout: 0.1");
  EXPECT_THAT(Refusal(), HasSubstr("model.lora.dropout: 0.1"));
  LearnFromRecords("preference");
  SetLora("rank: 0");
  EXPECT_THAT(Refusal(), HasSubstr("lora.rank: expected 1"));
  SetLora("rank: 2 target: \"wqkv\"");
  EXPECT_THAT(Refusal(), HasSubstr("lora target 'wqkv': no layer"));
  SetLora("target_regex: \"(\"");
  EXPECT_THAT(Refusal(), HasSubstr("only one of target and target_regex"));
  config_.mutable_model()->mutable_lora()->clear_target();
  EXPECT_THAT(Refusal(), HasSubstr("model.lora.target_regex: "));
  SetLosses(R"(model { lora { target_regex: ".*\\.0\\.mlp\\.up_proj" } })");
  EXPECT_EQ(Refusal(), "");
  EXPECT_THAT(Read("out/model/adapter_config.json"), HasSubstr("up_proj\""));
  SetLosses(R"(loss { name: "bco_pair" } loop { accumulation: 2 }
               model { lora { dropout: 0.1 } })");
  EXPECT_THAT(Refusal(), HasSubstr("a loss that couples"));
  SetLosses("reference { lora { rank: 1 } }");
  EXPECT_THAT(Refusal(), HasSubstr("reference.lora: "));
}

}  // namespace
}  // namespace align
