#include "align/models/tensor_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "align/base/files.h"
#include "align/models/safetensors_writer.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::map<std::string, std::vector<int64_t>> Shapes(const ModelConfig& config) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    EXPECT_TRUE(shapes.emplace(spec.name, spec.shape).second) << spec.name;
  }
  return shapes;
}

class TensorSpecTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/align_tensor_spec_test" +
                 std::to_string(::getpid());
    std::filesystem::remove_all(directory_);
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  // Writes `specs` as model.safetensors and checks them against `config`.
  absl::StatusOr<std::vector<std::string>> Check(
      const ModelConfig& config, const std::vector<TensorSpec>& specs) {
    const std::vector<float> zeros(64);
    std::vector<TensorToWrite> tensors;
    for (const TensorSpec& spec : specs) {
      size_t count = 1;
      for (const int64_t extent : spec.shape) count *= extent;
      tensors.push_back({.name = spec.name,
                         .shape = spec.shape,
                         .values = std::span(zeros).first(count)});
    }
    ALIGN_RETURN_IF_ERROR(
        WriteSafetensors(directory_ + "/model.safetensors", tensors));
    ALIGN_ASSIGN_OR_RETURN(const CheckpointReader reader,
                           CheckpointReader::Open(directory_));
    return CheckTensors(config, reader);
  }

  std::string directory_;
};

TEST_F(TensorSpecTest, ShapesFollowTheConfig) {
  const auto shapes = Shapes(OddConfig());
  EXPECT_EQ(shapes.size(), 12u);
  const std::string layer = "model.layers.0.";
  EXPECT_THAT(shapes.at("model.embed_tokens.weight"), ElementsAre(7, 4));
  EXPECT_THAT(shapes.at(layer + "self_attn.q_proj.weight"), ElementsAre(6, 4));
  EXPECT_THAT(shapes.at(layer + "self_attn.k_proj.weight"), ElementsAre(2, 4));
  EXPECT_THAT(shapes.at(layer + "self_attn.v_proj.weight"), ElementsAre(2, 4));
  EXPECT_THAT(shapes.at(layer + "self_attn.o_proj.weight"), ElementsAre(4, 6));
  EXPECT_THAT(shapes.at(layer + "mlp.gate_proj.weight"), ElementsAre(5, 4));
  EXPECT_THAT(shapes.at(layer + "mlp.up_proj.weight"), ElementsAre(5, 4));
  EXPECT_THAT(shapes.at(layer + "mlp.down_proj.weight"), ElementsAre(4, 5));
  EXPECT_THAT(shapes.at(layer + "input_layernorm.weight"), ElementsAre(4));
  EXPECT_THAT(shapes.at("lm_head.weight"), ElementsAre(7, 4));
}

TEST_F(TensorSpecTest, BiasesAppearOnRequest) {
  ModelConfig config = OddConfig();
  config.attention_bias = config.mlp_bias = true;
  const auto shapes = Shapes(config);
  EXPECT_EQ(shapes.size(), 19u);
  EXPECT_THAT(shapes.at("model.layers.0.self_attn.q_proj.bias"),
              ElementsAre(6));
  EXPECT_THAT(shapes.at("model.layers.0.mlp.down_proj.bias"), ElementsAre(4));
}

TEST_F(TensorSpecTest, HeadDependsOnTyingAndArchitecture) {
  ModelConfig config = OddConfig();
  config.tie_word_embeddings = true;
  EXPECT_FALSE(Shapes(config).contains("lm_head.weight"));
  config.architecture = Architecture::kLlamaForSequenceClassification;
  EXPECT_THAT(Shapes(config).at("score.weight"), ElementsAre(1, 4));
  config.tie_word_embeddings = false;
  EXPECT_FALSE(Shapes(config).contains("lm_head.weight"));
}

TEST_F(TensorSpecTest, CompleteCheckpointPassesAndExtrasAreListed) {
  std::vector<TensorSpec> specs = ExpectedTensors(OddConfig());
  auto extra = Check(OddConfig(), specs);
  ASSERT_TRUE(extra.ok()) << extra.status();
  EXPECT_THAT(*extra, IsEmpty());
  specs.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {1}});
  extra = Check(OddConfig(), specs);
  ASSERT_TRUE(extra.ok()) << extra.status();
  EXPECT_THAT(*extra,
              ElementsAre("model.layers.0.self_attn.rotary_emb.inv_freq"));
}

TEST_F(TensorSpecTest, MissingTensorIsNamed) {
  std::vector<TensorSpec> specs = ExpectedTensors(OddConfig());
  for (size_t i = 0; i < specs.size(); ++i) {
    std::vector<TensorSpec> rest = specs;
    rest.erase(rest.begin() + static_cast<int64_t>(i));
    const auto extra = Check(OddConfig(), rest);
    ASSERT_EQ(extra.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(extra.status()),
                HasSubstr(specs[i].name + " is missing"));
  }
}

TEST_F(TensorSpecTest, WrongShapeIsNamedWithBothShapes) {
  std::vector<TensorSpec> specs = ExpectedTensors(OddConfig());
  specs[0].shape = {4, 7};
  const auto extra = Check(OddConfig(), specs);
  ASSERT_EQ(extra.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(extra.status()),
              HasSubstr("model.embed_tokens.weight has shape [4, 7]; [7, 4]"));
}

}  // namespace
}  // namespace align
