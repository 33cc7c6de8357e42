#include "align/models/value_head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "tests/support/op_check.h"

namespace align {
namespace {

using ::testing::HasSubstr;

std::string TempFile(const std::string& name) {
  return ::testing::TempDir() + "/align_" + std::to_string(::getpid()) + name;
}

TEST(ValueHead, StartsWithAllValuesZero) {
  const ValueHead head(5);
  const std::vector<float> rows = RandomFloats(15, Rng(1));
  const Tensor values = head.Values(Tensor::From({3, 5}, rows));
  EXPECT_EQ(values.shape(), (Shape{3, 1}));
  for (float v : values.values()) EXPECT_EQ(v, 0);
}

TEST(ValueHead, DrawsWeightsOfTheRightSizeAndNoBias) {
  ValueHead head(4000);
  head.Draw(Rng(3));
  double squares = 0;
  for (float w : head.params().values(0)) squares += w * w;
  // A mean of 4000 squares of deviation 1/sqrt(4001): off by 2.2 % at one
  // standard error.
  EXPECT_NEAR(squares * 4001 / 4000, 1, 0.1);
  EXPECT_EQ(head.params().values(1)[0], 0);
}

TEST(ValueHead, IsAWeightedSumPlusBias) {
  ValueHead head(2);
  head.params().values(0)[0] = 2;
  head.params().values(0)[1] = -1;
  head.params().values(1)[0] = 0.5;
  const std::vector<float> rows = {1, 2, 3, 4};
  const Tensor values = head.Values(Tensor::From({2, 2}, rows));
  EXPECT_EQ(values.data()[0], 0.5f);
  EXPECT_EQ(values.data()[1], 2.5f);
}

TEST(ValueHead, ComesBackFromAFileToTheBit) {
  const std::string path = TempFile("head.safetensors");
  ValueHead head(7), read(7), narrow(6);
  head.Draw(Rng(5));
  head.params().values(1)[0] = 0.25f;
  ASSERT_TRUE(SaveValueHead(head, path).ok());
  ASSERT_TRUE(LoadValueHead(path, read).ok());
  EXPECT_EQ(read.params().Hash(), head.params().Hash());
  const absl::Status status = LoadValueHead(path, narrow);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("v_head.summary.weight"));
  EXPECT_THAT(Message(status), HasSubstr("[1, 6]"));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace align
