#include "align/models/peft.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/models/safetensors.h"
#include "tests/support/tiny_adapters.h"

namespace align {
namespace {

using ::testing::HasSubstr;

std::string Text(const std::string& extra = "") {
  return "{" + extra + R"("peft_type": "LORA", "r": 4, "lora_alpha": 32,
      "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"],
      "task_type": "CAUSAL_LM", "base_model_name_or_path": "base",
      "bias": "none", "use_rslora": true, "use_dora": false,
      "inference_mode": true, "modules_to_save": null, "rank_pattern": {}})";
}

TEST(PeftConfigTest, FieldsAreRead) {
  const auto config = ParsePeftConfig(Text(), "here");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->lora.rank, 4);
  EXPECT_EQ(config->lora.alpha, 32);
  EXPECT_EQ(config->lora.dropout, 0.05);
  EXPECT_EQ(config->lora.Scale(), 16);
  EXPECT_FALSE(config->lora.use_dora);
  EXPECT_EQ(config->base, "base");
  EXPECT_THAT(config->lora.targets, ::testing::ElementsAre("q_proj", "v_proj"));
}

TEST(PeftConfigTest, WhatIsNotImplementedIsRefusedByName) {
  for (const std::string& field :
       {R"("peft_type": "IA3")", R"("bias": "all")",
        R"("rank_pattern": {"q_proj": 2})", R"("alpha_pattern": {"a": 1})",
        R"("layers_to_transform": [1])", R"("exclude_modules": ["k_proj"])",
        R"("modules_to_save": ["lm_head"])", R"("task_type": "SEQ_2_SEQ_LM")",
        R"("init_lora_weights": "pissa")", R"("layer_replication": [[0, 1]])",
        R"("use_qalora": true)", R"("lora_bias": true)",
        R"("trainable_token_indices": [1])", R"("something_new": 3)",
        R"("loftq_config": {"bits": 4})"}) {
    const absl::Status status =
        ParsePeftConfig(Text(field + ", "), "here").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << field;
    const std::string name = field.substr(1, field.find('"', 1) - 1);
    EXPECT_THAT(Message(status), HasSubstr("here: " + name));
  }
}

TEST(PeftConfigTest, WrongFieldsAreNamed) {
  for (const std::string& field :
       {R"("r": 0)", R"("r": "8")", R"("r": 70000)", R"("lora_dropout": 1)",
        R"("lora_alpha": [])", R"("target_modules": [])",
        R"("target_modules": 3)", R"("peft_type": null)",
        R"("init_lora_weights": 3)"}) {
    const absl::Status status =
        ParsePeftConfig(Text(field + ", "), "here").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(Message(status), HasSubstr("here: "));
  }
}

class PeftTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/align_peft_" + std::to_string(::getpid());
    std::filesystem::remove_all(directory_);
    ASSERT_TRUE(SaveModel(*TinyModel(), path("base"), "").ok());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const {
    return directory_ + "/" + name;
  }
  // The base with learned adapters, saved as "adapter".
  std::unique_ptr<Model> Save(const LoraOptions& options,
                              WeightFormat format = WeightFormat::kF32) {
    auto model = LoadModel(path("base"));
    ALIGN_CHECK(model.ok()) << model.status().ToString();
    AddLearnedAdapters(options, **model);
    const absl::Status saved =
        SaveAdapters(**model, path("adapter"), path("base"), "", format);
    ALIGN_CHECK(saved.ok()) << saved.ToString();
    return *std::move(model);
  }
  std::string Read(const std::string& name) const {
    return ReadFile(path(name)).value();
  }
  void Write(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(WriteFileAtomically(path(name), text).ok());
  }
  std::string directory_;
};

TEST_F(PeftTest, SaveThenLoadIsBitEqual) {
  for (const Family family : AllFamilies()) {
    for (const LoraOptions& options : LoraKinds()) {
      const std::unique_ptr<Model> model = TinyModel(family);
      ASSERT_TRUE(SaveModel(*model, path("base"), "").ok());
      AddLearnedAdapters(options, *model);
      for (const WeightFormat format :
           {WeightFormat::kF32, WeightFormat::kBf16}) {
        const std::string where =
            path(format == WeightFormat::kF32 ? "f32" : "bf16");
        ASSERT_TRUE(SaveAdapters(*model, where, path("base"), "", format).ok());
        const auto loaded = LoadAdaptedModel(where);
        ASSERT_TRUE(loaded.ok()) << loaded.status();
        EXPECT_EQ((*loaded)->config(), model->config());
        if (format == WeightFormat::kF32) {
          EXPECT_EQ((*loaded)->adapters()->params().Hash(),
                    model->adapters()->params().Hash());
        }
        ASSERT_TRUE(
            SaveAdapters(**loaded, path("again"), path("base"), "", format)
                .ok());
        for (const char* file :
             {"/adapter_config.json", "/adapter_model.safetensors"}) {
          EXPECT_EQ(ReadFile(where + file).value(),
                    Read("again" + std::string(file)));
        }
      }
    }
  }
}

TEST_F(PeftTest, TensorsHavePeftsNamesAndShapes) {
  LoraOptions options{.rank = 3, .use_dora = true, .targets = {"k_proj"}};
  Save(options);
  const auto file =
      SafetensorsFile::Open(path("adapter/adapter_model.safetensors"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->tensors().size(), 6u);
  const std::string layer = "base_model.model.model.layers.1.self_attn.k_proj";
  EXPECT_EQ(file->Find(layer + ".lora_A.weight")->shape, Shape({3, 32}));
  EXPECT_EQ(file->Find(layer + ".lora_B.weight")->shape, Shape({16, 3}));
  EXPECT_EQ(file->Find(layer + ".lora_magnitude_vector")->shape, Shape({16}));
}

TEST_F(PeftTest, AModelDirectoryIsAskedForAndGivesTheMergedModel) {
  const std::unique_ptr<Model> model = Save(LoraKinds()[2]);
  MergeAdapters(*model);
  const auto loaded = LoadModel(path("adapter"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->params().Hash(), model->params().Hash());
  // Another model that is saved there is what is read from then on.
  ASSERT_TRUE(SaveModel(*TinyModel(9), path("adapter"), "").ok());
  EXPECT_EQ((*LoadModel(path("adapter")))->params().Hash(),
            TinyModel(9)->params().Hash());
}

TEST_F(PeftTest, TheBaseMayBeBelowOrGivenOrMissing) {
  const std::unique_ptr<Model> model = Save(LoraKinds()[0]);
  ASSERT_TRUE(SaveAdapters(*model, path("adapter"), "inside/base", "").ok());
  const absl::Status missing = LoadModel(path("adapter")).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(missing), HasSubstr("'inside/base'"));
  EXPECT_TRUE(LoadModel(path("adapter"), path("base")).ok());
  std::filesystem::create_directory(path("adapter/inside"));
  std::filesystem::rename(path("base"), path("adapter/inside/base"));
  EXPECT_TRUE(LoadModel(path("adapter")).ok());
  const absl::Status chained =
      LoadModel(path("adapter"), path("adapter")).status();
  EXPECT_THAT(Message(chained), HasSubstr("is an adapter itself"));
}

TEST_F(PeftTest, ARewardModelsHeadGoesWithItsAdapters) {
  auto model = LoadRewardModel(path("base"), Rng(3));
  ASSERT_TRUE(model.ok()) << model.status();
  AddLearnedAdapters({.rank = 2}, **model);
  ASSERT_TRUE(SaveAdapters(**model, path("reward"), path("base"), "").ok());
  EXPECT_THAT(Read("reward/adapter_config.json"), HasSubstr("SEQ_CLS"));
  const Tensor expected = (*model)->Head();
  for (const bool load_reward : {false, true}) {
    const auto loaded = load_reward ? LoadRewardModel(path("reward"), Rng(4))
                                    : LoadModel(path("reward"));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ((*loaded)->config(), (*model)->config());
    const Tensor head = (*loaded)->Head();
    EXPECT_TRUE(std::equal(head.values().begin(), head.values().end(),
                           expected.values().begin()));
  }
  EXPECT_TRUE(ConfigOf(path("reward"))->classifier());
  // Adapters of a language model get a new head.
  Save(LoraKinds()[0]);
  const auto fresh = LoadRewardModel(path("adapter"), Rng(4));
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  EXPECT_TRUE((*fresh)->config().classifier());
}

TEST_F(PeftTest, TensorsThatDoNotFitAreNamed) {
  const std::unique_ptr<Model> model = Save(LoraKinds()[0]);
  const std::string config = Read("adapter/adapter_config.json");
  const auto load = [&](const std::string& from, const std::string& to) {
    std::string text = config;
    text.replace(text.find(from), from.size(), to);
    Write("adapter/adapter_config.json", text);
    return Message(LoadModel(path("adapter")).status());
  };
  EXPECT_THAT(load("\"r\": 3", "\"r\": 4"),
              HasSubstr("lora_A.weight has shape [3, "));
  EXPECT_THAT(load("\"use_dora\": false", "\"use_dora\": true"),
              HasSubstr("lora_magnitude_vector is missing"));
  EXPECT_THAT(load("\"all-linear\"", "[\"q_proj\"]"),
              HasSubstr("is not in target_modules"));
  EXPECT_EQ(load("\"all-linear\"", "null"), "");
  ModelConfig shallow = TinyConfig();
  shallow.num_hidden_layers = 1;
  ASSERT_TRUE(SaveModel(**CreateModel(shallow, Rng(1)), path("base"), "").ok());
  EXPECT_THAT(load("\"r\": 3", "\"r\": 3"),
              HasSubstr("no linear layer model.layers.1."));
}

// Bytes changed, cut out and doubled, by a fixed stream: statuses alone.
TEST_F(PeftTest, MutatedConfigsGiveStatuses) {
  Save(LoraKinds()[2]);
  const std::string config = Read("adapter/adapter_config.json");
  Rng rng(11);
  int64_t refused = 0, loaded = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = config;
    for (uint64_t edits = 1 + rng.Below(3); edits > 0; --edits) {
      const size_t at = rng.Below(text.size());
      const size_t length = 1 + rng.Below(12);
      switch (rng.Below(4)) {
        case 0:
          text[at] = static_cast<char>(rng.Below(256));
          break;
        case 1:
          text.erase(at, length);
          break;
        case 2:
          text.insert(at, text.substr(rng.Below(text.size()), length));
          break;
        default:
          text[at] = "0123456789{}[],:\"-e"[rng.Below(19)];
      }
      if (text.empty()) text = "{";
    }
    const auto parsed = ParsePeftConfig(text, "adapter_config.json");
    if (!parsed.ok()) {
      ++refused;
      EXPECT_THAT(Message(parsed.status()), HasSubstr("adapter_config.json"));
      continue;
    }
    EXPECT_GE(parsed->lora.rank, 1);
    EXPECT_TRUE(std::isfinite(parsed->lora.Scale()));
    Write("adapter/adapter_config.json", text);
    loaded += LoadAdaptedModel(path("adapter")).ok() ? 1 : 0;
  }
  EXPECT_GT(refused, 1500);
  EXPECT_GT(loaded, 10);
}

}  // namespace
}  // namespace align
