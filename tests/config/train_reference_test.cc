// precompute_reference: the same run, and the reference is paid once.

#include <filesystem>

#include "align/base/check.h"
#include "align/base/log.h"
#include "align/base/storage.h"
#include "align/models/memory_plan.h"
#include "tests/config/train_job_fixture.h"

namespace align {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class TrainReferenceTest : public TrainJobTest {
 protected:
  void SetUp() override {
    TrainJobTest::SetUp();
    SetLogSink(
        [this](LogLevel, const std::string& line) { log_ += line + "\n"; });
  }
  void TearDown() override {
    SetLogSink({});
    TrainJobTest::TearDown();
  }
  // The run, which must succeed, and what it logs.
  std::string Run(const std::string& out) {
    log_.clear();
    const absl::Status status = RunTrainJob(config_, path(out));
    EXPECT_TRUE(status.ok()) << status;
    return log_;
  }
  // Twelve steps of five pairs, two at a time: more than four epochs.
  void ExpectSameBits(const std::string& method, const std::string& more = "") {
    LearnFromRecords(method);
    SetLosses(more);
    EXPECT_THAT(Run("each"), Not(HasSubstr("reference:")));
    config_.set_precompute_reference(true);
    EXPECT_THAT(Run("before"), HasSubstr("reference: 0 sequences were in"));
    const std::string model = config_.model().has_lora()
                                  ? "/model/adapter_model.safetensors"
                                  : "/model/model.safetensors";
    EXPECT_EQ(Read("each" + model), Read("before" + model));
    EXPECT_EQ(Metrics("each"), Metrics("before"));
    EXPECT_EQ(Metrics("before").size(), 12u);
  }
  int64_t Files(const std::string& directory) const {
    namespace fs = std::filesystem;
    return std::distance(fs::directory_iterator(path(directory)),
                         fs::directory_iterator());
  }

  std::string log_;
};

TEST_F(TrainReferenceTest, PairsHaveTheBitsOfAReferenceInEachStep) {
  ExpectSameBits("preference");
  EXPECT_THAT(log_, HasSubstr(", 10 are new"));
}

TEST_F(TrainReferenceTest, MismatchedRepliesOfEveryEpochAreScored) {
  ExpectSameBits("unpaired");
}

TEST_F(TrainReferenceTest, ALossThatSeesTheWholeStepHasTheSameBits) {
  ExpectSameBits("preference",
                 "loss { name: \"aot\" } loop { accumulation: 2 }");
}

TEST_F(TrainReferenceTest, AdaptersHaveTheBitsOfTheModelWithoutThem) {
  ExpectSameBits("preference", "model { lora { rank: 2 dropout: 0.1 } }");
}

TEST_F(TrainReferenceTest, AnotherModelMayBeTheReference) {
  MakeModel("other", Architecture::kLlamaForCausalLM, 9);
  ExpectSameBits("preference", "reference { path: \"" + path("other") + "\" }");
}

TEST_F(TrainReferenceTest, AStoppedRunReadsTheFile) {
  LearnFromRecords("preference");
  config_.set_precompute_reference(true);
  log_.clear();
  CheckResume([this] { return Steps("resumed") >= 4; },
              {"/model/model.safetensors"});
  EXPECT_THAT(log_, HasSubstr("reference: 10 sequences were in " +
                              path("resumed/reference_log_probs")));
  EXPECT_THAT(log_, HasSubstr(", 0 are new"));
}

TEST_F(TrainReferenceTest, RunsShareADirectoryAndModelsDoNotShareAFile) {
  LearnFromRecords("preference");
  config_.set_precompute_reference(true);
  config_.set_reference_cache(path("scores"));
  EXPECT_THAT(Run("first"), HasSubstr(", 10 are new"));
  SetLosses("loss { name: \"ipo\" } loop { seed: 5 }");
  EXPECT_THAT(Run("second"), HasSubstr(", 0 are new"));
  MakeModel("policy", Architecture::kLlamaForCausalLM, 9);
  EXPECT_THAT(Run("third"), HasSubstr("reference: 0 sequences were in"));
  EXPECT_EQ(Files("scores"), 2);
  EXPECT_FALSE(FileExists(path("third/reference_log_probs")));
}

TEST_F(TrainReferenceTest, OnlyWhatTheRunAsksForIsScored) {
  LearnFromRecords("preference");
  config_.set_precompute_reference(true);
  config_.mutable_loop()->set_steps(2);
  EXPECT_THAT(Run("out"), HasSubstr(", 8 are new"));
}

TEST_F(TrainReferenceTest, TrainingHoldsNoReference) {
  LearnFromRecords("preference");
  const auto peak = [this](const std::string& out) {
    TrimStorage();
    ResetStoragePeak();
    const int64_t before = GetStorageStats().bytes_in_use;
    Run(out);
    return GetStorageStats().peak_bytes - before;
  };
  const auto described = [this] {
    pb::TrainConfig resolved = config_;
    ALIGN_CHECK(ResolveTrainConfig(resolved).ok());
    return *DescribeTrainJob(resolved);
  };
  const int64_t each = peak("each");
  EXPECT_THAT(described(), HasSubstr("\nreference: 10480 parameters"));
  config_.set_precompute_reference(true);
  const int64_t beforehand = peak("before");
  const auto shape = ReadModelConfig(path("policy"));
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_GE(each - beforehand, WeightBytes(*shape));
  EXPECT_THAT(described(),
              HasSubstr("reference (scored beforehand): 0 parameters"));
}

TEST_F(TrainReferenceTest, KeysAreRefusedWhereNothingReadsThem) {
  const auto message = [&](const std::string& method, const std::string& keys) {
    LearnFromRecords(method);
    SetLosses(keys);
    return Message(ResolveTrainConfig(config_));
  };
  EXPECT_THAT(message("sft", "precompute_reference: true"),
              HasSubstr("precompute_reference: not a key of method 'sft'"));
  EXPECT_THAT(
      message("preference",
              "precompute_reference: true loss { name: \"simpo\" }"),
      HasSubstr("precompute_reference: nothing compares with a reference"));
  EXPECT_THAT(message("preference", "reference_cache: \"x\""),
              HasSubstr("reference_cache: nothing is kept"));
}

}  // namespace
}  // namespace align
