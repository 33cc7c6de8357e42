#include "align/kernels/lanes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace align::kernels {
namespace {

TEST(ExpTest, IsWithinTwoUlpsOfTheExactValue) {
  for (double x = -87; x <= 88; x += 0.00137) {
    const float given = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(given));
    ASSERT_NEAR(Exp(given), exact, 2 * 1.2e-7 * exact) << given;
  }
}

TEST(ExpTest, EdgesAreExact) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Exp(0), 1);
  EXPECT_EQ(Exp(-kInfinity), 0);
  EXPECT_EQ(Exp(-1000), 0);
  EXPECT_TRUE(std::isnan(Exp(std::nanf(""))));
}

TEST(LogTest, IsWithinTwoUlpsOfTheExactValue) {
  for (double x = 1.2e-38; x < 3e38; x *= 1.00137) {
    const float given = static_cast<float>(x);
    const double exact = std::log(static_cast<double>(given));
    ASSERT_NEAR(Log8(Broadcast8(given))[0], exact,
                2 * 1.2e-7 * std::max(std::abs(exact), 1e-3))
        << given;
  }
  EXPECT_EQ(Log8(Broadcast8(1.0f))[3], 0);
  EXPECT_NEAR(Log8(Broadcast8(0.0f))[0], -87.3366, 1e-3);
  EXPECT_TRUE(std::isnan(Log8(Broadcast8(std::nanf("")))[0]));
}

TEST(DotTest, LengthsOfEveryTailAgreeWithDouble) {
  std::vector<float> a(50), b(50);
  for (int i = 0; i < 50; ++i) a[i] = 0.1f * i - 2, b[i] = 1.5f - 0.07f * i;
  double exact = 0;
  for (int n = 0; n <= 50; ++n) {
    EXPECT_NEAR(Dot(a.data(), b.data(), n), exact, 1e-4);
    if (n < 50) exact += double{a[n]} * b[n];
  }
}

TEST(AxpyTest, TouchesExactlyItsRange) {
  std::vector<float> x(20, 1.0f), y(20, 1.0f);
  Axpy(2, x.data(), y.data(), 13);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(y[i], i < 13 ? 3 : 1);
}

}  // namespace
}  // namespace align::kernels
