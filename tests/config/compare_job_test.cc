#include "align/config/compare_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/config/compare_plan.h"
#include "align/config/parse.h"
#include "align/models/model.h"
#include "proto/config.pb.h"

namespace align {
namespace {

using ::testing::HasSubstr;

// A random byte-level model, thirty texts and a lexicon of two words.
class CompareJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/align_compare_" + std::to_string(::getpid());
    ModelConfig shape;
    shape.vocab_size = 258;
    shape.hidden_size = 16;
    shape.intermediate_size = 24;
    shape.num_hidden_layers = 1;
    shape.num_attention_heads = shape.num_key_value_heads = 2;
    shape.head_dim = 8;
    shape.max_position_embeddings = 64;
    shape.bos_token_id = 256;
    shape.eos_token_ids = {257};
    const auto model = CreateModel(shape, Rng(1));
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_TRUE(SaveModel(**model, directory_ + "/base", "").ok());
    Write("base/tokenizer_config.json",
          R"({"tokenizer_class": "ByteTokenizer"})");
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

TEST_F(CompareJobTest, ChangedStagesRunAgainWithWhatNeedsThem) {
  ASSERT_TRUE(Run().ok());
  config_.mutable_dpo()->mutable_training()->set_steps(1);
  config_.mutable_ppo()->mutable_ppo()->set_critic("shared");
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(Kept(), 8);  // all but dpo, ppo and their evaluations
}

TEST_F(CompareJobTest, BadConfigsAreRefusedByName) {
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

}  // namespace
}  // namespace align
