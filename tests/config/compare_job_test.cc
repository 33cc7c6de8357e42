#include "align/config/compare_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/config/compare_context.h"
#include "align/config/compare_needs.h"
#include "align/config/compare_plan.h"
#include "align/config/parse.h"
#include "align/data/import.h"
#include "align/dnnl/precision.h"
#include "align/models/model.h"
#include "proto/compare.pb.h"
#include "proto/config.pb.h"
#include "tests/support/read_events.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

using ::testing::HasSubstr;

// A random byte-level model, thirty texts and a lexicon of two words.
class CompareJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/align_compare_" + std::to_string(::getpid());
    ASSERT_TRUE(SaveByteModel(directory_ + "/base").ok());
    Write("lexicon.txt", "good\t2.0\nbad\t-2.0\n");
    std::string texts;
    for (int i = 0; i < 30; ++i) {
      texts += "{\"text\": \"" + std::to_string(i) + " is a story number\"}\n";
    }
    Write("texts.jsonl", texts);
    const std::string text = R"(
      prompts { prompt_tokens: 14 train: 6 eval: 4 }
      sampling { max_new_tokens: 6 }
      reward_model { steps: 2 batch_size: 2 }
      dpo { training { steps: 2 batch_size: 2 } }
      rso { candidates: 4 accepted: 2 training { steps: 2 batch_size: 2 } }
      ppo { ppo { prompts_per_rollout: 3 epochs: 2 } training { steps: 3 } }
      best_of_n { n: 2 })";
    ASSERT_TRUE(ParseConfig(text, "test", config_).ok());
    config_.mutable_base()->set_path(directory_ + "/base");
    config_.mutable_prompts()->set_texts(directory_ + "/texts.jsonl");
    config_.mutable_gold()->set_lexicon(directory_ + "/lexicon.txt");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& name, const std::string& contents) {
    ASSERT_TRUE(WriteFileAtomically(directory_ + "/" + name, contents).ok());
  }
  std::string out() const { return directory_ + "/out"; }
  absl::Status Run() {
    lines_.clear();
    return RunCompare(
        config_, out(),
        {.run_stage = nullptr,
         .print = [this](const std::string& line) { lines_.push_back(line); },
         .stop = nullptr});
  }
  int Kept() const {
    int kept = 0;
    for (const std::string& line : lines_)
      kept += line.ends_with("earlier run");
    return kept;
  }

  std::string directory_;
  pb::CompareConfig config_;
  std::vector<std::string> lines_;
};

TEST_F(CompareJobTest, EveryMethodGetsItsRowAndAFinishedJobRunsNothing) {
  const absl::Status status = Run();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Kept(), 0);
  const auto json = ReadFile(out() + "/results.json");
  ASSERT_TRUE(json.ok());
  for (const char* method : {"sft", "best_of_n", "dpo", "rso", "ppo"}) {
    EXPECT_THAT(*json, HasSubstr(std::string("\"") + method + "\""));
  }
  EXPECT_TRUE(FileExists(out() + "/samples.md"));
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(Kept(), 12);
  EXPECT_EQ(*ReadFile(out() + "/results.json"), *json);
}

TEST_F(CompareJobTest, StagesSideBySideGiveTheSameSamples) {
  ASSERT_TRUE(Run().ok());
  const std::string one_by_one = *ReadFile(out() + "/samples.md");
  std::mutex mutex;
  int running = 0, most = 0;
  const auto run_stage = [&](const std::string& stage) {
    {
      const std::scoped_lock lock(mutex);
      most = std::max(most, ++running);
    }
    const absl::Status status =
        RunCompareStageByName(config_, directory_ + "/both", stage, nullptr);
    const std::scoped_lock lock(mutex);
    --running;
    return status;
  };
  const absl::Status status =
      RunCompare(config_, directory_ + "/both",
                 {.jobs = 2, .run_stage = run_stage, .print = {}, .stop = {}});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(most, 2);
  EXPECT_EQ(*ReadFile(directory_ + "/both/samples.md"), one_by_one);
}

TEST_F(CompareJobTest, AfterAnErrorNoStageStarts) {
  std::mutex mutex;
  std::vector<std::string> started;
  const absl::Status status = RunCompare(
      config_, out(),
      {.jobs = 2,
       .run_stage =
           [&](const std::string& stage) {
             const std::scoped_lock lock(mutex);
             started.push_back(stage);
             return stage == "sft" ? DataLoss("no sft") : absl::OkStatus();
           },
       .print = {},
       .stop = {}});
  EXPECT_EQ(status, DataLoss("no sft"));
  EXPECT_THAT(started, ::testing::Contains("sft"));
  EXPECT_THAT(started, ::testing::Not(::testing::Contains("pairs")));
}

TEST_F(CompareJobTest, ChangedStagesRunAgainWithWhatNeedsThem) {
  ASSERT_TRUE(Run().ok());
  config_.mutable_dpo()->mutable_training()->set_steps(1);
  config_.mutable_ppo()->mutable_ppo()->set_critic("shared");
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(Kept(), 8);  // all but dpo, ppo and their evaluations
}

TEST_F(CompareJobTest, InBf16StagesAreOthersAndEveryModelIsBf16) {
  const auto keys = [&] {
    std::vector<std::string> all;
    const auto plan = PlanCompare(config_);
    EXPECT_TRUE(plan.ok()) << plan.status();
    for (const CompareStage& stage : *plan) all.push_back(stage.key);
    return all;
  };
  const std::vector<std::string> unset = keys();
  config_.set_precision("f32");
  EXPECT_EQ(keys(), unset);
  config_.set_precision("auto");
  EXPECT_EQ(keys() == unset, !HasFastBf16());
  if (!HasBf16()) GTEST_SKIP() << "no bf16 products on this CPU";
  ASSERT_TRUE(Run().ok());
  config_.set_precision("bf16");
  const absl::Status status = Run();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Kept(), HasFastBf16() ? 12 : 0);
  for (const char* stage : {"pairs", "reward_model", "dpo", "rso", "ppo"}) {
    const auto context = CompareContext::Create(config_, out(), stage, nullptr);
    ASSERT_TRUE(context.ok()) << context.status();
    for (const auto& model :
         {(*context)->LoadSft(), (*context)->LoadTrainedRewardModel()}) {
      ASSERT_TRUE(model.ok()) << model.status();
      EXPECT_EQ((*model)->params().precision(), Precision::kBf16);
    }
  }
  // PPO stops unless its first ratios are 1: the sampler is the scorer.
  EXPECT_THAT(*ReadFile(StageDirectory(out(), "ppo") + "/metrics.jsonl"),
              HasSubstr("\"val/ratio\": 1.0}"));
}

TEST_F(CompareJobTest, BadConfigsAreRefusedByName) {
  config_.set_precision("fp16");
  EXPECT_THAT(Message(PlanCompare(config_).status()),
              HasSubstr("precision 'fp16'"));
  config_.clear_precision();
  config_.add_methods("dpoo");
  EXPECT_THAT(Message(PlanCompare(config_).status()),
              HasSubstr("did you mean 'dpo'?"));
  config_.clear_methods();
  config_.mutable_gold()->set_lexicon(directory_ + "/none.txt");
  EXPECT_THAT(Message(PlanCompare(config_).status()), HasSubstr("none.txt"));
  config_.mutable_gold()->clear_lexicon();
  EXPECT_THAT(Message(PlanCompare(config_).status()),
              HasSubstr("gold.lexicon"));
}

TEST_F(CompareJobTest, TrainingThatCannotRunIsRefusedBeforeTheFirstStage) {
  config_.mutable_sft()->set_enabled(true);
  EXPECT_THAT(Message(PlanCompare(config_).status()), HasSubstr("sft.data"));
  config_.mutable_sft()->add_data(directory_ + "/texts.jsonl");
  EXPECT_THAT(Message(PlanCompare(config_).status()),
              HasSubstr("sft.training.steps"));
  config_.mutable_sft()->set_enabled(false);
  config_.mutable_reward_model()->mutable_optimizer()->set_beta1(2);
  EXPECT_THAT(Message(PlanCompare(config_).status()),
              HasSubstr("reward_model: optimizer.beta1"));
  config_.mutable_reward_model()->clear_optimizer();
  config_.mutable_dpo()->mutable_training()->clear_steps();
  EXPECT_THAT(Message(PlanCompare(config_).status()),
              HasSubstr("dpo.training.steps"));
  config_.add_methods("rso");  // and so no dpo
  EXPECT_TRUE(PlanCompare(config_).ok());
}

// Texts longer than the model's positions, and examples with prompts.
TEST_F(CompareJobTest, SftTrainsThePolicyThatTheOthersStartFrom) {
  std::string rows;
  for (int i = 0; i < 8; ++i) {
    rows += R"({"prompt": "say )" + std::to_string(i) +
            R"(", "completion": " good"})" + "\n";
  }
  Write("pairs.jsonl", rows);
  for (const char* name : {"texts", "pairs"}) {
    const std::string inputs[] = {directory_ + "/" + name + ".jsonl"};
    const std::string records = directory_ + "/" + name + ".tfrecord";
    ASSERT_TRUE(Import(inputs, records, ImportOptions()).ok());
    config_.mutable_sft()->add_data(records);
  }
  config_.mutable_sft()->set_enabled(true);
  config_.mutable_sft()->mutable_training()->set_steps(3);
  config_.add_methods("dpo");
  const absl::Status status = Run();
  ASSERT_TRUE(status.ok()) << status;
  const auto record = ReadStageRecord(out(), "sft");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_GT(record->tokens_trained(), 0);
  const auto base = LoadModel(directory_ + "/base");
  const auto sft = LoadModel(SftModelDirectory(config_, out()));
  ASSERT_TRUE(sft.ok()) << sft.status();
  EXPECT_NE((*sft)->params().Hash(), (*base)->params().Hash());
  // DPO starts where SFT ended: its first loss is ln 2, or it would stop.
  EXPECT_THAT(*ReadFile(StageDirectory(out(), "dpo") + "/metrics.jsonl"),
              HasSubstr("\"loss\": 0.693147"));
}

TEST_F(CompareJobTest, EveryTrainingStageWritesAnEventFile) {
  config_.add_methods("dpo");
  ASSERT_TRUE(Run().ok());
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(StageDirectory(out(), "dpo"))) {
    if (!entry.path().filename().string().starts_with("events.out.tfevents."))
      continue;
    ++files;
    const auto events = ReadEvents(entry.path().string());
    ASSERT_EQ(events.size(), 3u);  // the version, two steps
    EXPECT_EQ(events[2].step(), 2);
    EXPECT_EQ(events[2].summary().value(0).tag(), "train/loss");
  }
  EXPECT_EQ(files, 1);
}

// A megabyte, rounded up, is more than the tiny model needs in any stage.
TEST_F(CompareJobTest, NeedsAreListedByStage) {
  auto text = DescribeCompareJob(config_);
  ASSERT_TRUE(text.ok()) << text.status();
  const auto model = LoadModel(directory_ + "/base");
  EXPECT_THAT(*text,
              HasSubstr("parameters: " +
                        std::to_string((*model)->params().parameter_count())));
  EXPECT_THAT(*text, HasSubstr("\n  prompts         0 MB\n"));
  EXPECT_THAT(*text, HasSubstr("\n  ppo             1 MB\n"));
  EXPECT_THAT(*text, HasSubstr("largest stage: 1 MB"));
  EXPECT_THAT(*text, HasSubstr("packed copies"));
  config_.mutable_base()->set_path(directory_ + "/none");
  EXPECT_THAT(Message(DescribeCompareJob(config_).status()),
              HasSubstr("/none"));
}

}  // namespace
}  // namespace align
