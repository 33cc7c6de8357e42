// Load, save, load: to the bit in every dtype.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>

#include "align/base/files.h"
#include "align/models/checkpoint_reader.h"
#include "align/models/float16.h"
#include "align/models/model.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

using ::testing::HasSubstr;

TEST(Float16Test, EveryHalfComesBackToTheBit) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    ASSERT_EQ(FloatToHalf(HalfToFloat(half)), half) << bits;
    ASSERT_EQ(FloatToBfloat(BfloatToFloat(half)), half) << bits;
  }
}

// Between each two neighbours: the nearer, the even one halfway.
TEST(Float16Test, HalvesRoundToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const double low = HalfToFloat(static_cast<uint16_t>(bits));
    const double high = HalfToFloat(static_cast<uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);  // exact
    const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(FloatToHalf(middle), even);
    ASSERT_EQ(FloatToHalf(-middle), even | 0x8000);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 1e9f)), bits + 1);
  }
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToHalf(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_TRUE(
      std::isnan(HalfToFloat(FloatToHalf(std::bit_cast<float>(0x7F800001u)))));
}

class SaveModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/save_model_" + std::to_string(::getpid());
    std::filesystem::remove_all(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string Path(const std::string& name) const {
    return directory_ + "/" + name;
  }

  std::string directory_;
};

// Names and bytes of a checkpoint's tensors.
std::map<std::string, std::string> TensorBytes(const std::string& directory) {
  const auto reader = CheckpointReader::Open(directory);
  EXPECT_TRUE(reader.ok()) << reader.status();
  std::map<std::string, std::string> bytes;
  for (const std::string& name : reader->Names()) {
    const TensorInfo* info = reader->Find(name);
    bytes[name] = std::string(DtypeName(info->dtype)) +
                  std::string(reinterpret_cast<const char*>(info->bytes.data()),
                              info->bytes.size());
  }
  return bytes;
}

TEST_F(SaveModelTest, WhatWasLoadedIsSavedToTheBitInEveryDtype) {
  constexpr int64_t kShardBytes = 20'000;
  for (const Family family :
       {Family::kLlama, Family::kGpt2, Family::kGemma2, Family::kMixtral}) {
    const auto model = TinyModel(family);
    for (const auto& [name, dtype] : {std::pair{"f32", "float32"},
                                      {"f16", "float16"},
                                      {"bf16", "bfloat16"}}) {
      SCOPED_TRACE(name);
      const auto format = ParseWeightFormat(name);
      ASSERT_TRUE(format.ok());
      ASSERT_TRUE(SaveModel(*model, Path("a"), "", *format).ok());
      EXPECT_THAT(*ReadFile(Path("a/config.json")), HasSubstr(dtype));
      const auto once = LoadModel(Path("a"));
      ASSERT_TRUE(once.ok()) << once.status();
      ASSERT_TRUE(SaveModel(**once, Path("b"), "", *format).ok());
      ASSERT_TRUE(SaveModel(**once, Path("c"), "", *format, kShardBytes).ok());
      ASSERT_FALSE(FileExists(Path("c/model.safetensors")));
      const auto bytes = TensorBytes(Path("a"));
      EXPECT_EQ(bytes.size(), model->params().specs().size());
      EXPECT_EQ(TensorBytes(Path("b")), bytes);
      EXPECT_EQ(TensorBytes(Path("c")), bytes);
      const auto sharded = LoadModel(Path("c"));
      ASSERT_TRUE(sharded.ok()) << sharded.status();
      for (const ParamSpec& spec : model->params().specs()) {
        EXPECT_TRUE(
            std::ranges::equal((*once)->params().Get(spec.name).values(),
                               (*sharded)->params().Get(spec.name).values()));
      }
      std::filesystem::remove_all(directory_);
    }
  }
}

TEST_F(SaveModelTest, WeightsThatADtypeHasNoRoomForAreRefused) {
  auto model = TinyModel();
  model->params().values(1)[3] = -70000;
  const auto save = [&](WeightFormat format) {
    return SaveModel(*model, Path("a"), "", format);
  };
  const absl::Status status = save(WeightFormat::kF16);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr(model->params().specs()[1].name));
  EXPECT_THAT(Message(status), HasSubstr("-70000"));
  EXPECT_FALSE(FileExists(Path("a/model.safetensors")));
  EXPECT_TRUE(save(WeightFormat::kBf16).ok());
  model->params().values(1)[3] = std::numeric_limits<float>::max();
  EXPECT_EQ(save(WeightFormat::kBf16).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(save(WeightFormat::kF32).ok());
  EXPECT_EQ(ParseWeightFormat("int8").status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align
