#include "align/config/train_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "align/config/parse.h"
#include "align/data/records.h"
#include "align/dnnl/precision.h"
#include "proto/config.pb.h"
#include "proto/records.pb.h"
#include "tests/config/train_job_fixture.h"

namespace align {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(TrainJobTest, PpoStoppedWithinARolloutAndResumedIsStraightThrough) {
  CheckResume([this] { return Steps("resumed") >= 2; },
              {"/model/model.safetensors", "/critic/model.safetensors"});
  EXPECT_NE(Read("straight/critic/model.safetensors"),
            Read("reward/model.safetensors"));
}

TEST_F(TrainJobTest, PpoStoppedWhileSamplingAndResumedIsStraightThrough) {
  config_.mutable_ppo()->set_critic("shared");
  config_.mutable_ppo()->set_value_head("normal");
  config_.mutable_loop()->set_checkpoint_every(0);
  int64_t asked = 0;  // after step 4: the first time by the loop
  CheckResume([this, &asked] { return Steps("resumed") >= 4 && ++asked > 1; },
              {"/model/model.safetensors", "/model/value_head.safetensors"});
  EXPECT_FALSE(FileExists(path("straight/critic/config.json")));
}

// A mix whose state, the running mean, must be kept, over two micro-batches.
TEST_F(TrainJobTest, PreferenceStoppedAndResumedIsStraightThrough) {
  LearnFromRecords("preference");
  SetLosses(R"(loss { name: "sigmoid" weight: 0.8 }
               loss { name: "bco_pair" weight: 0.2 }
               loss { name: "sft" options { name: "nll_average"
                                            value: "sequences" } })");
  config_.mutable_loop()->set_accumulation(2);
  CheckResume([this] { return Steps("resumed") >= 4; },
              {"/model/model.safetensors"});
  EXPECT_THAT(Metrics("straight")[0], HasSubstr("\"rewards/margins\": 0.0"));
}

TEST_F(TrainJobTest, RecomputedActivationsChangeNoBit) {
  LearnFromRecords("preference");
  SetLosses("model { lora { rank: 2 dropout: 0.2 } } loop { accumulation: 2 }");
  ASSERT_TRUE(RunTrainJob(config_, path("kept")).ok());
  config_.set_recompute_activations(true);
  ASSERT_TRUE(RunTrainJob(config_, path("again")).ok());
  EXPECT_EQ(Read("kept/model/adapter_model.safetensors"),
            Read("again/model/adapter_model.safetensors"));
  EXPECT_EQ(Metrics("kept"), Metrics("again"));
}

TEST_F(TrainJobTest, PpoWithASeparateCriticRecomputesBoth) {
  ASSERT_TRUE(RunTrainJob(config_, path("kept")).ok());
  config_.set_recompute_activations(true);
  ASSERT_TRUE(RunTrainJob(config_, path("again")).ok());
  for (const char* model : {"/model", "/critic"}) {
    EXPECT_EQ(Read("kept" + std::string(model) + "/model.safetensors"),
              Read("again" + std::string(model) + "/model.safetensors"));
  }
}

TEST_F(TrainJobTest, KtoStoppedAndResumedIsStraightThrough) {
  LearnFromRecords("unpaired");
  CheckResume([this] { return Steps("resumed") >= 4; },
              {"/model/model.safetensors"});
  EXPECT_THAT(Read("straight/config.textproto"), HasSubstr("name: \"kto\""));
  EXPECT_THAT(Metrics("straight")[0], HasSubstr("\"kl\": 0.0"));
}

TEST_F(TrainJobTest, BcoStoppedAndResumedIsStraightThrough) {
  LearnFromRecords("unpaired");
  SetLosses(R"(loss { name: "bco" })");
  config_.mutable_loop()->set_accumulation(2);
  CheckResume([this] { return Steps("resumed") >= 4; },
              {"/model/model.safetensors"});
  EXPECT_THAT(Metrics("straight")[11], HasSubstr("\"delta\": "));
}

// Where the policy is its reference, each reply's loss is its weight times
// ln 2.
TEST_F(TrainJobTest, BcoWeighsUndesirableRepliesByTheirDensityRatio) {
  LearnFromRecords("unpaired");
  SetLosses(R"(
    loss { name: "bco" options { name: "udm" value: "true" } }
    loop { steps: 1 } data { batch_size: 4 })");
  std::vector<pb::Record> records(4);
  for (size_t i = 0; i < records.size(); ++i) {
    pb::UnpairedExample* reply = records[i].mutable_unpaired();
    reply->mutable_prompt()->set_text("number " + std::to_string(i));
    reply->set_completion("reply");
    reply->set_label(i < 2);
    if (i == 2) reply->set_density_ratio(3);
  }
  config_.mutable_data()->set_train(0, path("replies.tfrecord"));
  ASSERT_TRUE(WriteRecords(path("replies.tfrecord"), records).ok());
  EXPECT_THAT(Message(RunTrainJob(config_, path("out"))),
              HasSubstr("data.train: record #3 has no density_ratio"));
  config_.set_prompt_embedder(path("policy"));
  const absl::Status estimated = RunTrainJob(config_, path("estimated"));
  ASSERT_TRUE(estimated.ok()) << estimated;
  EXPECT_THAT(Metrics("estimated")[0], HasSubstr("\"loss\": "));
  config_.set_prompt_embedder(path("nowhere"));
  EXPECT_THAT(Message(RunTrainJob(config_, path("out"))),
              HasSubstr("prompt_embedder: "));
  config_.clear_prompt_embedder();
  records[3].mutable_unpaired()->set_density_ratio(0.1);  // clipped at 0.5
  ASSERT_TRUE(WriteRecords(path("replies.tfrecord"), records).ok());
  const absl::Status status = RunTrainJob(config_, path("out"));
  ASSERT_TRUE(status.ok()) << status;
  // ln 2 (1 + 1 + 3 + 0.5) / 4
  EXPECT_THAT(Metrics("out")[0], HasSubstr("\"loss\": 0.95307"));
  // Prompts of pairs are among the good as often as among the bad.
  config_.mutable_data()->set_train(0, path("pairs.tfrecord"));
  ASSERT_TRUE(RunTrainJob(config_, path("pairs")).ok());
  EXPECT_THAT(Metrics("pairs")[0], HasSubstr("\"loss\": 0.69314"));
}

TEST_F(TrainJobTest, LossesAreRefusedByNameAndByWhatTheyNeed) {
  const auto message = [&](const std::string& method,
                           const std::string& losses) {
    LearnFromRecords(method);
    SetLosses(losses);
    return Message(ResolveTrainConfig(config_));
  };
  EXPECT_THAT(message("preference", "loss { name: \"sigmod\" }"),
              HasSubstr("did you mean 'sigmoid'?"));
  EXPECT_THAT(message("preference", "loss { name: \"sft\" weight: -1 }"),
              HasSubstr("loss sft: weight = -1"));
  EXPECT_THAT(message("preference", "loss { name: \"sft\" } loss { }"),
              HasSubstr("loss.name: expected"));
  EXPECT_THAT(message("unpaired", "loss { name: \"kto\" weight: 2 }"),
              HasSubstr("loss.weight: not a key of method 'unpaired'"));
  EXPECT_THAT(message("unpaired", "loss { } loss { }"),
              HasSubstr("loss: 2 of them; method 'unpaired' takes one"));
  for (const char* method : {"unpaired", "preference"}) {
    EXPECT_THAT(message(method, "prompt_embedder: \"x\""),
                HasSubstr("prompt_embedder: nothing weighs prompts"));
  }
  EXPECT_THAT(message("unpaired", "data { batch_size: 1 }"),
              HasSubstr("data.batch_size: 1; loss kto"));
  EXPECT_THAT(message("sft", "loss { name: \"dtf\" }"),
              HasSubstr("Known: nll, dft"));
  EXPECT_THAT(message("sft", "loss { options { name: \"beta\" } }"),
              HasSubstr("loss nll: option 'beta' is unknown; there are none"));
  EXPECT_THAT(message("ppo", "loss { name: \"sft\" }"),
              HasSubstr("loss: not a key of method 'ppo'"));
  EXPECT_THAT(message("reward", "loss { options { name: \"beta\" } }"),
              HasSubstr("bradley_terry"));
  LearnFromRecords("preference");
  SetLosses("loss { name: \"rpo_sq\" }");
  EXPECT_THAT(Message(RunTrainJob(config_, path("out"))),
              HasSubstr("data.train: no pair has a margin; loss rpo_sq"));
}

TEST_F(TrainJobTest, OptimizerKeysThatNothingReadsAreRefused) {
  const auto message = [&](const std::string& optimizer) {
    LearnFromRecords("preference");
    SetLosses("optimizer { " + optimizer + " }");
    return Message(ResolveTrainConfig(config_));
  };
  EXPECT_THAT(message("schedule: \"linear\" min_lr_ratio: 0.1"),
              HasSubstr("optimizer.min_lr_ratio: not a key of schedule "
                        "'linear'"));
  EXPECT_THAT(message("cycles: 2"), HasSubstr("schedule 'constant'"));
  EXPECT_THAT(message("schedule: \"warmup_stable_decay\""),
              HasSubstr("optimizer.decay_steps: 0;"));
  EXPECT_THAT(message("norm_type: \"3\""),
              HasSubstr("optimizer.norm_type: norm '3' is unknown"));
  EXPECT_THAT(message("name: \"sgd\" nesterov: true"),
              HasSubstr("optimizer.nesterov: expected"));
  EXPECT_THAT(message("momentum: 0.9"), HasSubstr("only sgd has them"));
}

TEST_F(TrainJobTest, AReferenceIsHeldOnlyForALossThatNeedsOne) {
  LearnFromRecords("preference");
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_THAT(*DescribeTrainJob(config_), HasSubstr("reference: "));
  config_.mutable_loss(0)->set_name("simpo");
  EXPECT_THAT(*DescribeTrainJob(config_), Not(HasSubstr("reference: ")));
  ASSERT_TRUE(RunTrainJob(config_, path("out")).ok());
}

TEST_F(TrainJobTest, OneLossOfTheConfigCanBeOverridden) {
  LearnFromRecords("preference");
  ASSERT_TRUE(ApplyOverride("loss.name=ipo", config_).ok());
  ASSERT_TRUE(ApplyOverride("loss.name=hinge", config_).ok());
  ASSERT_EQ(config_.loss_size(), 1);
  EXPECT_EQ(config_.loss(0).name(), "hinge");
  config_.add_loss();
  EXPECT_THAT(Message(ApplyOverride("loss.name=ipo", config_)),
              HasSubstr("the config has 2 of 'loss'"));
}

TEST_F(TrainJobTest, PpoMetricsHaveTrlsNamesAndTheFirstRatioIsOne) {
  config_.mutable_loop()->set_steps(4);
  ASSERT_TRUE(RunTrainJob(config_, path("out")).ok());
  const std::vector<std::string> lines = Metrics("out");
  ASSERT_EQ(lines.size(), 4u);
  for (const char* name :
       {"objective/kl", "objective/entropy", "objective/non_score_reward",
        "objective/rlhf_reward", "objective/scores", "policy/approxkl_avg",
        "policy/clipfrac_avg", "policy/entropy_avg", "loss/policy_avg",
        "loss/value_avg", "val/clipfrac_avg", "val/num_eos_tokens", "episode",
        "num_tokens", "learning_rate"}) {
    EXPECT_THAT(lines[0], HasSubstr("\"" + std::string(name) + "\": "));
  }
  EXPECT_THAT(lines[0], HasSubstr("\"val/ratio\": 1.0}"));
  EXPECT_THAT(lines[0], HasSubstr("\"objective/kl\": 0.0,"));
}

TEST_F(TrainJobTest, ALexiconAndASharedCriticNeedNoOtherModel) {
  config_.mutable_reward()->clear_model();
  config_.mutable_reward()->set_lexicon(path("lexicon.txt"));
  config_.mutable_ppo()->set_critic("shared");
  config_.mutable_loop()->set_steps(4);
  const absl::Status status = RunTrainJob(config_, path("out"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(Metrics("out")[0], Not(HasSubstr("\"objective/scores\": 0.0,")));
  // The head it learned can start another run.
  config_.set_value_model(path("out/model"));
  EXPECT_TRUE(RunTrainJob(config_, path("again")).ok());
}

TEST_F(TrainJobTest, TheAccountOfMemoryCountsEveryModel) {
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  const auto text = DescribeTrainJob(config_);
  ASSERT_TRUE(text.ok()) << text.status();
  // One block: 16 * (4 * 16 + 3 * 24) + 32, norm 16; table and head 258 * 16.
  for (const char* line :
       {"policy: 10480 parameters, 1 MB for weights, gradients and moments, "
        "1 MB for packed copies\n",
        "critic: 6368 parameters, 1 MB for weights, gradients and moments\n",
        "reward model: 6368 parameters, 1 MB for weights\n",
        "reference: 10480 parameters, 1 MB for weights\n", "in all: 1 MB"}) {
    EXPECT_THAT(*text, HasSubstr(line));
  }
  config_.mutable_ppo()->set_critic("shared");
  EXPECT_THAT(*DescribeTrainJob(config_),
              HasSubstr("value head: 17 parameters"));
  if (!HasBf16()) GTEST_SKIP() << "no bf16 products on this CPU";
  config_.set_precision("bf16");
  EXPECT_THAT(*DescribeTrainJob(config_),
              HasSubstr("reference: 10480 parameters, 1 MB for weights, 1 MB "
                        "for packed copies\n"));
}

TEST_F(TrainJobTest, DefaultsAreFilledInAndReadTheSameAgain) {
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_EQ(config_.ppo().critic(), "separate");
  EXPECT_EQ(config_.ppo().clip(), 0.2);
  EXPECT_EQ(config_.sampling().top_p(), 1);
  const std::string text = ConfigText(config_);
  ASSERT_TRUE(ResolveTrainConfig(config_).ok());
  EXPECT_EQ(ConfigText(config_), text);
}

TEST_F(TrainJobTest, BadKeysAreRefusedByName) {
  const auto message = [&](const std::string& change) {
    pb::TrainConfig config = config_;
    const absl::Status applied = ApplyOverride(change, config);
    return Message(applied.ok() ? ResolveTrainConfig(config) : applied);
  };
  EXPECT_THAT(message("ppo.kl_coef=-1"), HasSubstr("ppo.kl_coef: -1"));
  EXPECT_THAT(message("ppo.minibatches=5"), HasSubstr("ppo.minibatches: 5"));
  EXPECT_THAT(message("ppo.gamma=1.5"), HasSubstr("ppo.gamma: 1.5"));
  EXPECT_THAT(message("ppo.critic=sharde"),
              HasSubstr("ppo.critic: 'sharde' is unknown; did you mean "
                        "'shared'?"));
  EXPECT_THAT(message("ppo.value_head=zero"), HasSubstr("ppo.value_head:"));
  EXPECT_THAT(message("sampling.temperature=0"),
              HasSubstr("sampling.temperature: 0"));
  EXPECT_THAT(message("sampling.min_p=2"), HasSubstr("min_p 2"));
  EXPECT_THAT(message("sampling.cache_mode=absorbd"),
              HasSubstr("did you mean 'absorbed'?"));
  EXPECT_THAT(message("sampling.cache_mode=absorbed"),
              HasSubstr("expected exact, as ratios need"));
  EXPECT_THAT(message("loop.steps=10"), HasSubstr("loop.steps: 10"));
  EXPECT_THAT(message("loop.accumulation=3"),
              HasSubstr("loop.accumulation: 3"));
  EXPECT_THAT(message("data.batch_size=4"), HasSubstr("data.batch_size:"));
  EXPECT_THAT(message("loss.name=sigmoid"), HasSubstr("loss:"));
  EXPECT_THAT(message("reward.lexicon=x"), HasSubstr("reward:"));
  EXPECT_THAT(message("method=reward"), HasSubstr("ppo: not a key of"));
  EXPECT_THAT(message("ppo.kl_coeff=1"), HasSubstr("did you mean 'kl_coef'?"));
  config_.mutable_reward()->clear_model();
  EXPECT_THAT(message("reward.lexicon=x"), HasSubstr("value_model:"));
}

TEST_F(TrainJobTest, ModelsThatDoNotFitAreRefusedByKey) {
  config_.mutable_reward()->set_model(path("policy"));
  EXPECT_THAT(Message(RunTrainJob(config_, path("out"))),
              HasSubstr("reward.model: "));
  config_.set_router_aux_loss_coef(0.1);
  EXPECT_THAT(Message(RunTrainJob(config_, path("out"))),
              HasSubstr("router_aux_loss_coef: LlamaForCausalLM has no"));
  config_.clear_router_aux_loss_coef();
  config_.mutable_reward()->set_model(path("nowhere"));
  EXPECT_THAT(Message(RunTrainJob(config_, path("out"))),
              HasSubstr("reward.model: "));
  config_.mutable_reward()->set_model(path("reward"));
  config_.mutable_sampling()->set_max_new_tokens(30);
  EXPECT_THAT(Message(RunTrainJob(config_, path("out"))),
              HasSubstr("data.max_prompt_length: the longest prompt has 9"));
}

}  // namespace
}  // namespace align
