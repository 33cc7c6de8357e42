#include "align/base/rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace align {
namespace {

TEST(RngTest, StreamIsAFunctionOfItsKeyAndForks) {
  Rng a = Rng(7).Fork("rollout").Fork(3);
  Rng b = Rng(7).Fork("rollout").Fork(3);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.Next(), b.Next());
}

TEST(RngTest, ForksDiffer) {
  const Rng root(7);
  std::set<uint64_t> first;
  for (uint64_t i = 0; i < 100; ++i) first.insert(root.Fork(i).Next());
  first.insert(root.Fork("a").Next());
  first.insert(root.Fork("b").Next());
  first.insert(root.Fork("ab").Next());
  first.insert(root.Fork("").Next());
  first.insert(Rng(root).Next());
  EXPECT_EQ(first.size(), 105u);
}

TEST(RngTest, UniformHasItsMomentsAndRange) {
  Rng rng(1);
  double sum = 0, squares = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.Uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    squares += u * u;
  }
  // Standard errors: 1/sqrt(12 n) and sqrt(4/45 n); four of each.
  EXPECT_NEAR(sum / kDraws, 0.5, 4 * std::sqrt(1 / 12.0 / kDraws));
  EXPECT_NEAR(squares / kDraws, 1 / 3.0, 4 * std::sqrt(4 / 45.0 / kDraws));
}

TEST(RngTest, NormalHasItsMoments) {
  Rng rng(2);
  double sum = 0, squares = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = rng.Normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 4 / std::sqrt(kDraws));
  EXPECT_NEAR(squares / kDraws, 1, 4 * std::sqrt(2.0 / kDraws));
}

TEST(RngTest, PermutationHoldsEveryIndexOnce) {
  std::vector<int64_t> order = Rng(3).Permutation(1000);
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
}

TEST(RngTest, StateContinuesBitForBit) {
  Rng a(9);
  a.Normal();
  Rng b(0);
  b.set_state(a.state());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(a.Normal(), b.Normal());
}

}  // namespace
}  // namespace align
