#include "align/models/rope_scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "align/models/model.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

using ::testing::HasSubstr;

// The angle of pair i at position 1.
double Angle(const RopeTable& table, int64_t i) {
  return std::atan2(table.sin[table.half + i], table.cos[table.half + i]);
}

ModelConfig Scaled(const RopeScaling& scaling) {
  ModelConfig config = TinyConfig();
  config.head_dim = 64;
  config.rope_scaling = scaling;
  return config;
}

TEST(RopeScalingTest, LinearDividesEveryFrequency) {
  const RopeTable plain = MakeRopeTable(Scaled({}), 64);
  const RopeTable scaled =
      MakeRopeTable(Scaled({.kind = RopeKind::kLinear, .factor = 4}), 64);
  for (int64_t i = 0; i < 32; ++i) {
    EXPECT_NEAR(Angle(scaled, i), Angle(plain, i) / 4, 1e-6);
  }
}

// High frequencies stay, low ones are divided, none leaves that range.
TEST(RopeScalingTest, Llama3AndYarnInterpolateBetweenKeepingAndDividing) {
  const RopeTable plain = MakeRopeTable(Scaled({}), 64);
  for (const RopeKind kind : {RopeKind::kLlama3, RopeKind::kYarn}) {
    const RopeTable scaled = MakeRopeTable(
        Scaled({.kind = kind, .factor = 4, .original_positions = 2048}), 64);
    EXPECT_NEAR(Angle(scaled, 0), Angle(plain, 0), 1e-6);
    EXPECT_NEAR(Angle(scaled, 31) / Angle(plain, 31), 0.25, 1e-3);
    double before = 1;
    for (int64_t i = 0; i < 32; ++i) {
      const double kept = Angle(scaled, i) / Angle(plain, i);
      EXPECT_LE(kept, before + 1e-3);
      before = kept;
    }
  }
}

TEST(RopeScalingTest, YarnScalesByItsMagnitude) {
  const auto length = [](const RopeScaling& scaling) {
    const RopeTable table = MakeRopeTable(Scaled(scaling), 64);
    return std::hypot(table.cos[5], table.sin[5]);
  };
  RopeScaling yarn{.kind = RopeKind::kYarn, .factor = 4};
  EXPECT_NEAR(length(yarn), 0.1 * std::log(4) + 1, 1e-6);
  yarn.mscale = yarn.mscale_all_dim = 0.7;
  EXPECT_NEAR(length(yarn), 1, 1e-6);
  yarn.attention_factor = 1.5;
  EXPECT_NEAR(length(yarn), 1.5, 1e-6);
}

TEST(RopeScalingTest, DynamicIsPlainUpToTheOriginalLengthAndRefusedBeyond) {
  ModelConfig config = TinyConfig();
  config.rope_scaling = {
      .kind = RopeKind::kDynamic, .factor = 2, .original_positions = 64};
  EXPECT_EQ(MakeRopeTable(config, 8).cos, MakeRopeTable(TinyConfig(), 8).cos);
  const auto model = CreateModel(config, Rng(1));
  ASSERT_TRUE(model.ok()) << model.status();
  const auto check = [&](int64_t length) {
    Segments segments;
    segments.Append(length);
    return (*model)->CheckTokens({}, segments);
  };
  EXPECT_TRUE(check(64).ok());
  EXPECT_THAT(Message(check(65)), HasSubstr("dynamic RoPE scaling"));
}

}  // namespace
}  // namespace align
