#include "align/models/gguf_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "align/base/files.h"
#include "align/models/gguf_family.h"
#include "align/models/gguf_writer.h"
#include "align/models/rope_scaling.h"
#include "tests/support/gguf_reader.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GgufExportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/gguf_" + std::to_string(::getpid());
    std::filesystem::remove_all(directory_);
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path() const { return directory_ + "/model.gguf"; }
  // A file of `model`, read back.
  GgufReader Export(const Model& model, GgufType type = GgufType::kF32) const {
    const std::string from = directory_ + "/model";
    const absl::Status saved = SaveModel(model, from, "");
    EXPECT_TRUE(saved.ok()) << saved;
    const absl::Status written = WriteModelAsGguf(from, path(), {.type = type});
    EXPECT_TRUE(written.ok()) << written;
    return GgufReader(path());
  }
  // What the refusal of a tiny model of `config` says.
  std::string Refusal(const ModelConfig& config) const {
    const auto model = CreateModel(config, Rng(1));
    EXPECT_TRUE(model.ok()) << model.status();
    const std::string from = directory_ + "/refused";
    EXPECT_TRUE(SaveModel(**model, from, "").ok());
    const absl::Status status = WriteModelAsGguf(from, path(), {});
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_FALSE(FileExists(path()));
    return Message(status);
  }

  std::string directory_;
};

ModelConfig ExportableConfig(Family family) {
  ModelConfig config = TinyConfig(family);
  config.scale_scores_by_layer = false;
  return config;
}

std::unique_ptr<Model> ExportableModel(Family family) {
  auto model = CreateModel(ExportableConfig(family), Rng(3));
  ALIGN_CHECK(model.ok()) << model.status();
  for (size_t i = 0; i < (*model)->params().specs().size(); ++i) {
    Rng stream = Rng(5).Fork(i);
    for (float& v : (*model)->params().values(i)) {
      v = static_cast<float>(stream.Normal());
    }
  }
  return *std::move(model);
}

std::vector<Family> ExportedFamilies() {
  return {Family::kLlama, Family::kMistral, Family::kQwen2, Family::kQwen3,
          Family::kGemma, Family::kGemma2,  Family::kGpt2};
}

std::span<const float> ValuesOf(const Model& model, const std::string& name) {
  return model.params().Get(name).values();
}

TEST_F(GgufExportTest, EveryTensorOfEveryFamilyIsThereOnceWithItsValues) {
  for (const Family family : ExportedFamilies()) {
    const auto model = ExportableModel(family);
    const GgufReader file = Export(*model);
    size_t expected = 0;
    for (const ParamSpec& spec : model->params().specs()) {
      SCOPED_TRACE(spec.name);
      ++expected;
      const auto place = PlaceInGguf(*FindGgufFamily(family), spec.name);
      ASSERT_TRUE(place.has_value());
      ASSERT_TRUE(file.tensors().contains(place->name)) << place->name;
      const GgufReader::Tensor& tensor = file.tensors().at(place->name);
      EXPECT_EQ(tensor.type, 0u);
      std::vector<uint64_t> extents(spec.shape.rbegin(), spec.shape.rend());
      if (place->change == GgufChange::kTranspose) {
        std::reverse(extents.begin(), extents.end());
      }
      EXPECT_EQ(tensor.extents, extents);
      // Orders change, values do not; norms of Gemma gain 1, and its queries a
      // factor.
      std::vector<float> got = GgufReader::Floats(tensor);
      const std::span<const float> values = ValuesOf(*model, spec.name);
      std::vector<float> wanted(values.begin(), values.end());
      const bool gemma = family == Family::kGemma || family == Family::kGemma2;
      if (gemma && place->change == GgufChange::kAddOne) {
        for (float& v : wanted) v += 1;
      }
      if (family == Family::kGemma2 && place->change == GgufChange::kQueries) {
        continue;  // below
      }
      std::sort(got.begin(), got.end());
      std::sort(wanted.begin(), wanted.end());
      EXPECT_EQ(got, wanted);
    }
    const bool factors = family == Family::kLlama;
    EXPECT_EQ(file.tensors().size(), expected + (factors ? 1 : 0));
  }
}

TEST_F(GgufExportTest, LlamasRotatedRowsComeInPairs) {
  const auto model = ExportableModel(Family::kLlama);
  const GgufReader file = Export(*model);
  const ModelConfig& config = model->config();
  for (const auto& [ours, theirs, heads] :
       {std::tuple{"q_proj", "attn_q", config.num_attention_heads},
        {"k_proj", "attn_k", config.num_key_value_heads}}) {
    const std::string name = std::string("model.layers.1.self_attn.") + ours;
    const std::string other = std::string("blk.1.") + theirs;
    const auto bias = GgufReader::Floats(file.tensors().at(other + ".bias"));
    const auto weight =
        GgufReader::Floats(file.tensors().at(other + ".weight"));
    const int64_t width = config.hidden_size, half = config.head_dim / 2;
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < half; ++i) {
        for (int64_t second : {0, 1}) {
          const int64_t to = h * config.head_dim + 2 * i + second;
          const int64_t from = h * config.head_dim + i + second * half;
          EXPECT_EQ(bias[to], ValuesOf(*model, name + ".bias")[from]);
          EXPECT_EQ(weight[to * width + 3],
                    ValuesOf(*model, name + ".weight")[from * width + 3]);
        }
      }
    }
  }
}

TEST_F(GgufExportTest, Gpt2sMatricesAreTransposed) {
  const auto model = ExportableModel(Family::kGpt2);
  const GgufReader file = Export(*model);
  const auto got =
      GgufReader::Floats(file.tensors().at("blk.0.attn_qkv.weight"));
  const auto ours = ValuesOf(*model, "transformer.h.0.attn.c_attn.weight");
  const int64_t width = model->config().hidden_size;
  for (int64_t in = 0; in < width; ++in) {
    for (int64_t out = 0; out < 3 * width; ++out) {
      ASSERT_EQ(got[out * width + in], ours[in * 3 * width + out]);
    }
  }
}

// llama.cpp divides Gemma 2's scores by the root of a head's size.
TEST_F(GgufExportTest, Gemma2sScaleOfScoresGoesIntoTheQueries) {
  const auto model = ExportableModel(Family::kGemma2);
  const GgufReader file = Export(*model);
  const auto got = GgufReader::Floats(file.tensors().at("blk.0.attn_q.weight"));
  const auto ours = ValuesOf(*model, "model.layers.0.self_attn.q_proj.weight");
  const double scale = std::sqrt(static_cast<double>(model->config().head_dim) /
                                 model->config().query_scalar);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], ours[i] * scale, 1e-6);
  }
  EXPECT_EQ(file.Get<uint64_t>("gemma2.attention.sliding_window"), 5u);
  EXPECT_EQ(file.Get<double>("gemma2.attn_logit_softcapping"), 3);
  EXPECT_EQ(file.Get<double>("gemma2.final_logit_softcapping"), 4);
}

TEST_F(GgufExportTest, MetadataSayWhatTheConfigSays) {
  const auto model = ExportableModel(Family::kLlama);
  const GgufReader file = Export(*model, GgufType::kQ8_0);
  EXPECT_EQ(file.Get<std::string>("general.architecture"), "llama");
  EXPECT_EQ(file.Get<uint64_t>("general.file_type"), 7u);
  const ModelConfig& config = model->config();
  for (const auto& [key, value] :
       {std::pair{"block_count", config.num_hidden_layers},
        {"context_length", config.max_position_embeddings},
        {"embedding_length", config.hidden_size},
        {"feed_forward_length", config.intermediate_size},
        {"attention.head_count", config.num_attention_heads},
        {"attention.head_count_kv", config.num_key_value_heads},
        {"attention.key_length", config.head_dim},
        {"rope.dimension_count", config.head_dim},
        {"vocab_size", config.vocab_size}}) {
    EXPECT_EQ(file.Get<uint64_t>(std::string("llama.") + key),
              static_cast<uint64_t>(value))
        << key;
  }
  EXPECT_EQ(file.Get<double>("llama.rope.freq_base"), config.rope_theta);
}

TEST_F(GgufExportTest, Llama3sFactorsStretchThePlainFrequencies) {
  const auto model = ExportableModel(Family::kLlama);
  const GgufReader file = Export(*model);
  const auto factors =
      GgufReader::Floats(file.tensors().at("rope_freqs.weight"));
  const ModelConfig& config = model->config();
  const auto frequencies = RopeFrequencies(config, config.head_dim);
  ASSERT_EQ(factors.size(), frequencies.size());
  for (size_t i = 0; i < factors.size(); ++i) {
    const double plain = std::pow(
        config.rope_theta, -2.0 * static_cast<double>(i) / config.head_dim);
    EXPECT_NEAR(plain / factors[i], frequencies[i], 1e-6 * frequencies[i]);
  }
  EXPECT_GT(factors.back(), 1);
}

TEST_F(GgufExportTest, WindowsThatLlamaCppDoesNotHaveEndTheContext) {
  const GgufReader file = Export(*ExportableModel(Family::kMistral));
  EXPECT_EQ(file.Get<uint64_t>("llama.context_length"), 5u);
}

TEST_F(GgufExportTest, VectorsStayF32AndOddRowsAreF16) {
  auto config = TinyConfig();
  config.intermediate_size = 48;  // no multiple of 32
  const auto model = CreateModel(config, Rng(1));
  ASSERT_TRUE(model.ok());
  const GgufReader file = Export(**model, GgufType::kQ8_0);
  EXPECT_EQ(file.tensors().at("output_norm.weight").type, 0u);
  EXPECT_EQ(file.tensors().at("blk.0.ffn_up.weight").type, 8u);
  EXPECT_EQ(file.tensors().at("blk.0.ffn_down.weight").type, 1u);
}

TEST_F(GgufExportTest, WhatLlamaCppWouldComputeOtherwiseIsRefusedByName) {
  for (const Family family :
       {Family::kMixtral, Family::kGptNeox, Family::kDeepseekV2}) {
    EXPECT_THAT(Refusal(TinyConfig(family)),
                HasSubstr("is not supported; LlamaForCausalLM"));
  }
  ModelConfig config = ExportableConfig(Family::kLlama);
  config.activation = Activation::kGeluTanh;
  EXPECT_THAT(Refusal(config), HasSubstr("activation"));
  config = ExportableConfig(Family::kLlama);
  config.architecture.head = HeadKind::kSequenceClassifier;
  EXPECT_THAT(Refusal(config), HasSubstr("LlamaForSequenceClassification"));
  config = ExportableConfig(Family::kQwen3);
  config.attention_bias = true;
  EXPECT_THAT(Refusal(config), HasSubstr("attention_bias in qwen3"));
  config = ExportableConfig(Family::kQwen3);
  config.rope_scaling = {.kind = RopeKind::kLlama3, .factor = 2};
  EXPECT_THAT(Refusal(config), HasSubstr("rope_scaling of type llama3"));
  config = ExportableConfig(Family::kLlama);
  config.rope_scaling = {
      .kind = RopeKind::kYarn, .factor = 2, .attention_factor = 3};
  EXPECT_THAT(Refusal(config), HasSubstr("yarn"));
  config = ExportableConfig(Family::kGemma);
  config.tie_word_embeddings = false;
  EXPECT_THAT(Refusal(config), HasSubstr("tie_word_embeddings false in gemma"));
  config = ExportableConfig(Family::kGemma2);
  config.logit_soft_cap = 0;
  EXPECT_THAT(Refusal(config), HasSubstr("soft caps"));
  EXPECT_THAT(Refusal(TinyConfig(Family::kGpt2)),
              HasSubstr("scale_attn_by_inverse_layer_idx"));
}

// The types themselves.

GgufTensor TensorOf(const std::vector<float>& values, GgufType type,
                    std::vector<int64_t> shape) {
  return {.name = "x",
          .shape = std::move(shape),
          .type = type,
          .read = [&values](std::span<float> out) {
            std::copy(values.begin(), values.end(), out.begin());
            return absl::OkStatus();
          }};
}

TEST_F(GgufExportTest, HalvesAreTheNearest) {
  std::vector<float> values(96);
  Rng rng(7);
  for (float& v : values) v = static_cast<float>(rng.Normal());
  for (const auto& [type, bits] :
       {std::pair{GgufType::kF16, 11}, {GgufType::kBF16, 8}}) {
    ASSERT_TRUE(WriteGguf(path(), {}, {TensorOf(values, type, {3, 32})}).ok());
    const GgufReader file(path());
    EXPECT_THAT(file.tensors().at("x").extents, ElementsAre(32u, 3u));
    const auto got = GgufReader::Floats(file.tensors().at("x"));
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_LE(std::abs(got[i] - values[i]),
                std::abs(values[i]) * std::ldexp(1.0, -bits) + 0x1p-25);
    }
  }
}

// |x - q d'| <= d / 2 for rounding q, and 127 |d - d'| for d' in F16: relative
// 2^-11, absolute 2^-25 below the normal numbers.
TEST_F(GgufExportTest, Q8IsWithinHalfAStep) {
  std::vector<float> values(64 * 32);
  Rng rng(9);
  for (size_t i = 0; i < values.size(); ++i) {
    const double size = std::pow(10.0, static_cast<double>(i / 32 % 12) - 8);
    values[i] = static_cast<float>(size * rng.Normal());
  }
  std::fill_n(values.begin(), 32, 0.0f);
  ASSERT_TRUE(
      WriteGguf(path(), {}, {TensorOf(values, GgufType::kQ8_0, {64, 32})})
          .ok());
  const GgufReader file(path());
  const auto got = GgufReader::Floats(file.tensors().at("x"));
  for (size_t block = 0; block < 64; ++block) {
    double most = 0;
    for (size_t i = 0; i < 32; ++i) {
      most = std::max<double>(most, std::abs(values[32 * block + i]));
    }
    const double step = most / 127;
    const double bound = step / 2 + 127 * (step * 0x1p-11 + 0x1p-25);
    for (size_t i = 0; i < 32; ++i) {
      const size_t at = 32 * block + i;
      EXPECT_LE(std::abs(got[at] - values[at]), bound * 1.0001) << at;
    }
  }
}

TEST_F(GgufExportTest, WhatATypeHasNoRoomForIsRefused) {
  std::vector<float> values(32, 1.0f);
  values[5] = 1e6;
  const auto write = [&](GgufType type, std::vector<int64_t> shape) {
    return WriteGguf(path(), {}, {TensorOf(values, type, std::move(shape))});
  };
  EXPECT_THAT(Message(write(GgufType::kF16, {32})), HasSubstr("F16"));
  EXPECT_TRUE(write(GgufType::kBF16, {32}).ok());
  EXPECT_TRUE(write(GgufType::kQ8_0, {32}).ok());
  values[5] = 1e8;
  EXPECT_THAT(Message(write(GgufType::kQ8_0, {32})), HasSubstr("Q8_0"));
  values[5] = std::nanf("");
  EXPECT_THAT(Message(write(GgufType::kQ8_0, {32})), HasSubstr("Q8_0"));
  EXPECT_TRUE(write(GgufType::kF32, {32}).ok());
  EXPECT_EQ(write(GgufType::kQ8_0, {2, 16}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(write(GgufType::kF32, {2, 2, 2, 2, 2}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align
