#include "align/kernels/bf16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace align::kernels {
namespace {

float Rounded(float x) {
  Bf16 out;
  RoundToBf16(&x, 1, &out);
  return std::bit_cast<float>(static_cast<uint32_t>(out.bits) << 16);
}

TEST(Bf16Test, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(Rounded(1.0f), 1.0f);
  EXPECT_EQ(Rounded(1.0f + 0x1p-8f), 1.0f);  // a tie, down to even
  EXPECT_EQ(Rounded(1.0f + 3 * 0x1p-8f), 1.0f + 0x1p-6f);  // a tie, up to even
  EXPECT_EQ(Rounded(1.0f + 0x1.02p-8f), 1.0f + 0x1p-7f);
  EXPECT_EQ(Rounded(-1.0f - 0x1.02p-8f), -1.0f - 0x1p-7f);
}

TEST(Bf16Test, KeepsInfinityAndNanAndOverflowsToInfinity) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Rounded(kInfinity), kInfinity);
  EXPECT_EQ(Rounded(-kInfinity), -kInfinity);
  EXPECT_EQ(Rounded(std::numeric_limits<float>::max()), kInfinity);
  EXPECT_TRUE(std::isnan(Rounded(std::nanf(""))));
  // The payload stands in the half that is cut off.
  EXPECT_TRUE(std::isnan(Rounded(std::bit_cast<float>(0x7F800001u))));
}

TEST(Bf16Test, EveryValueOfALongArrayIsRoundedAlike) {
  std::vector<float> x(100001);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 1.0f + 0x1p-12f * (i % 97);
  std::vector<Bf16> out(x.size());
  RoundToBf16(x.data(), static_cast<int64_t>(x.size()), out.data());
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(std::bit_cast<float>(static_cast<uint32_t>(out[i].bits) << 16),
              Rounded(x[i]));
  }
}

}  // namespace
}  // namespace align::kernels
