#include "align/tensor/tape.h"

#include <gtest/gtest.h>

#include <vector>

namespace align {
namespace {

// out = factor * (a + b), element by element.
Tensor ScaledSum(float factor, const Tensor& a, const Tensor& b) {
  Tensor out = Tensor::Empty(a.shape());
  for (int64_t i = 0; i < out.size(); ++i) {
    out.data()[i] = factor * (a.data()[i] + b.data()[i]);
  }
  return Record("ScaledSum", out, {a, b}, [=](const float* grad) {
    for (const Tensor& input : {a, b}) {
      if (!input.requires_grad()) continue;
      for (int64_t i = 0; i < input.size(); ++i) {
        input.grad()[i] += factor * grad[i];
      }
    }
  });
}

struct Leaf {
  std::vector<float> values, grads;
  Tensor tensor;
  explicit Leaf(std::vector<float> v)
      : values(std::move(v)), grads(values.size(), 0.0f) {
    tensor = Tensor::Leaf({static_cast<int64_t>(values.size())}, values, grads);
  }
};

TEST(TapeTest, DiamondAddsBothPathsAndRunsEachRuleOnce) {
  Leaf x({1, 2});
  const Tensor y = ScaledSum(2, x.tensor, x.tensor);  // 4 x
  const Tensor z = ScaledSum(1, y, x.tensor);         // 5 x
  const Tensor w = ScaledSum(3, z, y);                // 27 x
  EXPECT_EQ(w.data()[1], 54);
  Backward(w, std::vector<float>{1, 10});
  EXPECT_EQ(x.grads, (std::vector<float>{27, 270}));
}

TEST(TapeTest, SeveralRootsShareOneWalk) {
  Leaf x({1});
  const Tensor y = ScaledSum(1, x.tensor, x.tensor);  // 2 x
  const Tensor z = ScaledSum(1, y, y);                // 4 x
  const std::vector<float> seed_y = {1}, seed_z = {100};
  const Root roots[] = {{y, seed_y}, {z, seed_z}};
  Backward(roots);
  EXPECT_EQ(x.grads[0], 402);
}

TEST(TapeTest, NoGradAndConstantsRecordNothing) {
  Leaf x({1});
  {
    const NoGrad guard;
    EXPECT_FALSE(ScaledSum(1, x.tensor, x.tensor).requires_grad());
  }
  const Tensor constant = Tensor::Zeros({1});
  EXPECT_FALSE(ScaledSum(1, constant, constant).requires_grad());
  EXPECT_TRUE(ScaledSum(1, x.tensor, constant).requires_grad());
}

TEST(TapeTest, WalkFreesWhatRulesHold) {
  Leaf x(std::vector<float>(1000, 1.0f));
  TrimStorage();
  const int64_t before = GetStorageStats().bytes_in_use;
  const Tensor y = ScaledSum(1, ScaledSum(1, x.tensor, x.tensor), x.tensor);
  Backward(y, std::vector<float>(1000, 1.0f));
  // Only y itself is left.
  EXPECT_LE(GetStorageStats().bytes_in_use - before, 5000);
}

TEST(TapeTest, LongChainDoesNotOverflowTheStack) {
  Leaf x({1});
  Tensor y = x.tensor;
  for (int i = 0; i < 200000; ++i) y = ScaledSum(0.5f, y, y);
  Backward(y, std::vector<float>{1});
  EXPECT_EQ(x.grads[0], 1);
}

TEST(StorageTest, BlocksAreReusedAndThePeakIsKept) {
  TrimStorage();
  { const Storage block = AllocateStorage(100000); }
  const int64_t allocations = GetStorageStats().system_allocations;
  ResetStoragePeak();
  const int64_t base = GetStorageStats().bytes_in_use;
  for (int i = 0; i < 10; ++i) const Storage block = AllocateStorage(100000);
  EXPECT_EQ(GetStorageStats().system_allocations, allocations);
  EXPECT_GE(GetStorageStats().peak_bytes - base, 400000);
  EXPECT_LE(GetStorageStats().peak_bytes - base, 500000);
}

TEST(StorageTest, BlocksOfManySizesDoNotPileUp) {
  TrimStorage();
  constexpr int64_t kLargest = 1 << 22;
  { const Storage most = AllocateStorage(kLargest); }
  for (int64_t size = 1000; size <= kLargest; size += size / 8) {
    const Storage one = AllocateStorage(size);
    const Storage two = AllocateStorage(size / 3);
  }
  // Two blocks of the largest size, and a quarter.
  EXPECT_LE(GetStorageStats().idle_bytes,
            2 * kLargest * static_cast<int64_t>(sizeof(float)) * 5 / 4);
}

}  // namespace
}  // namespace align
