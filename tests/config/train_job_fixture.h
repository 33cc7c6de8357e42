#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/config/parse.h"
#include "align/config/train_job.h"
#include "align/data/records.h"
#include "align/models/model.h"
#include "proto/config.pb.h"
#include "proto/records.pb.h"

namespace align {

inline constexpr char kPpoConfig[] = R"(
  method: "ppo"
  loop { steps: 12 checkpoint_every: 4 }
  optimizer { learning_rate: 1e-3 schedule: "linear" }
  sampling { max_new_tokens: 6 temperature: 0.8 }
  ppo {
    prompts_per_rollout: 4 epochs: 2 minibatches: 2
    kl_coef: 0.1 target_kl: 0.01 kl_horizon: 50
  })";

// Byte-level models of one layer, seven prompts and a lexicon.
class TrainJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/align_train_" + std::to_string(::getpid());
    MakeModel("policy", Architecture::kLlamaForCausalLM, 1);
    MakeModel("reward", Architecture::kLlamaForSequenceClassification, 2);
    std::string lexicon;  // every letter is a word
    for (char c = 'a'; c <= 'z'; ++c) lexicon += std::string(1, c) + "\t2.0\n";
    Write("lexicon.txt", lexicon);
    std::vector<pb::Record> records(7);
    for (size_t i = 0; i < records.size(); ++i) {
      records[i].mutable_prompt()->mutable_prompt()->set_text(
          "number " + std::to_string(i));
    }
    ASSERT_TRUE(WriteRecords(path("prompts.tfrecord"), records).ok());
    ASSERT_TRUE(ParseConfig(kPpoConfig, "test", config_).ok());
    config_.mutable_model()->set_path(path("policy"));
    config_.mutable_reward()->set_model(path("reward"));
    config_.mutable_data()->add_train(path("prompts.tfrecord"));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void MakeModel(const std::string& name, Architecture architecture,
                 uint64_t seed) {
    ModelConfig shape;
    shape.architecture = architecture;
    shape.vocab_size = 258;
    shape.hidden_size = 16;
    shape.intermediate_size = 24;
    shape.num_hidden_layers = 1;
    shape.num_attention_heads = shape.num_key_value_heads = 2;
    shape.head_dim = 8;
    shape.max_position_embeddings = 32;
    shape.bos_token_id = 256;
    shape.eos_token_ids = {257};
    const auto model = CreateModel(shape, Rng(seed));
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_TRUE(SaveModel(**model, path(name), "").ok());
    Write(name + "/tokenizer_config.json",
          R"({"tokenizer_class": "ByteTokenizer"})");
  }
  void Write(const std::string& name, const std::string& contents) {
    ASSERT_TRUE(WriteFileAtomically(path(name), contents).ok());
  }
  std::string path(const std::string& name) const {
    return directory_ + "/" + name;
  }
  std::string Read(const std::string& name) const {
    const auto text = ReadFile(path(name));
    return text.ok() ? *text : Message(text.status());
  }
  // metrics.jsonl without times.
  std::vector<std::string> Metrics(const std::string& out) const {
    std::istringstream text(Read(out + "/metrics.jsonl"));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) {
      const size_t begin = line.find("\"step_time\"");
      line.erase(begin, line.find(',', begin) - begin);
      lines.push_back(line);
    }
    return lines;
  }
  int64_t Steps(const std::string& out) const {
    const std::string text = FileExists(path(out + "/metrics.jsonl"))
                                 ? Read(out + "/metrics.jsonl")
                                 : "";
    return std::count(text.begin(), text.end(), '\n');
  }

  // Runs straight through, and stopped once at `stop` and continued: the same
  // `files` and metrics.
  void CheckResume(const std::function<bool()>& stop,
                   const std::vector<std::string>& files) {
    const absl::Status straight = RunTrainJob(config_, path("straight"));
    ASSERT_TRUE(straight.ok()) << straight;
    const absl::Status stopped = RunTrainJob(config_, path("resumed"), stop);
    EXPECT_EQ(stopped.code(), absl::StatusCode::kCancelled) << stopped;
    EXPECT_THAT(Message(stopped), ::testing::HasSubstr("after step 4;"));
    EXPECT_EQ(Steps("resumed"), 4);
    EXPECT_FALSE(FileExists(path("resumed/model/model.safetensors")));
    const absl::Status resumed = RunTrainJob(config_, path("resumed"));
    ASSERT_TRUE(resumed.ok()) << resumed;
    for (const std::string& file : files) {
      EXPECT_EQ(Read("straight" + file), Read("resumed" + file)) << file;
    }
    EXPECT_EQ(Metrics("straight"), Metrics("resumed"));
    EXPECT_EQ(Metrics("straight").size(), 12u);
    EXPECT_NE(Read("straight/model/model.safetensors"),
              Read("policy/model.safetensors"));
  }

  // Twelve steps of `method` on five pairs.
  void LearnFromRecords(const std::string& method) {
    std::vector<pb::Record> records(5);
    for (size_t i = 0; i < records.size(); ++i) {
      pb::PreferencePair* pair = records[i].mutable_preference();
      pair->mutable_prompt()->set_text("number " + std::to_string(i));
      pair->set_chosen("good");
      pair->set_rejected("bad");
    }
    ASSERT_TRUE(WriteRecords(path("pairs.tfrecord"), records).ok());
    config_.Clear();
    config_.set_method(method);
    config_.mutable_model()->set_path(path("policy"));
    config_.mutable_data()->add_train(path("pairs.tfrecord"));
    config_.mutable_data()->set_batch_size(2);
    config_.mutable_loop()->set_steps(12);
    config_.mutable_optimizer()->set_learning_rate(1e-3);
  }
  // Merges `text` into the config.
  void SetLosses(const std::string& text) {
    const absl::Status parsed = ParseConfig(text, "test", config_);
    ASSERT_TRUE(parsed.ok()) << parsed;
  }

  std::string directory_;
  pb::TrainConfig config_;
};

}  // namespace align
