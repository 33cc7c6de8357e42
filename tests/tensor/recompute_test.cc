#include "align/tensor/recompute.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "align/base/storage.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

// scale * a b, element by element.
Tensor Product(const Tensor& a, const Tensor& b, float scale) {
  Tensor out = Tensor::Empty(a.shape());
  for (int64_t i = 0; i < a.size(); ++i) {
    out.data()[i] = scale * a.data()[i] * b.data()[i];
  }
  return Record("Product", out, {a, b}, [a, b, scale](const float* grad) {
    for (int64_t i = 0; i < a.size(); ++i) {
      if (a.requires_grad()) a.grad()[i] += scale * grad[i] * b.data()[i];
      if (b.requires_grad()) b.grad()[i] += scale * grad[i] * a.data()[i];
    }
  });
}

struct Leaf {
  explicit Leaf(std::vector<float> v) : values(std::move(v)) {
    grad.resize(values.size());
    tensor = Tensor::Leaf({static_cast<int64_t>(values.size())}, values, grad);
  }
  std::vector<float> values, grad;
  Tensor tensor;
};

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float v : values) bits.push_back(std::bit_cast<uint32_t>(v));
  return bits;
}

// x -> (w x) x and w x beside it.
std::vector<Tensor> Block(const Tensor& x, const Tensor& w) {
  const Tensor inner = Product(w, x, 0.3f);
  return {Product(inner, x, 1.7f), inner};
}

// Gradients of two blocks in a row, the way through both outputs of each.
std::vector<std::vector<uint32_t>> Gradients(bool recompute, bool sides,
                                             int* calls = nullptr) {
  Leaf x({0.5f, -2, 0, 3}), w({1.25f, 0.1f, -7, -0.0f});
  const Computation block = [&](const Tensor& in) {
    if (calls != nullptr) ++*calls;
    return Block(in, w.tensor);
  };
  const auto run = [&](const Tensor& in) {
    return recompute ? Recompute(in, block) : block(in);
  };
  const std::vector<Tensor> first = run(x.tensor), last = run(first[0]);
  const std::vector<float> seed = {1, -0.0f, 0.25f, -3}, side(4, 0.7f);
  std::vector<Root> roots = {{.output = last[0], .seed = seed}};
  for (const std::vector<Tensor>* outputs : {&first, &last}) {
    if (sides) roots.push_back({.output = outputs->at(1), .seed = side});
  }
  Backward(roots);
  return {Bits(x.grad), Bits(w.grad)};
}

TEST(Recompute, GradientsHaveTheSameBits) {
  EXPECT_EQ(Gradients(true, false), Gradients(false, false));
}

TEST(Recompute, OutputsOnTheWayGetGradientsOfTheirOwn) {
  EXPECT_EQ(Gradients(true, true), Gradients(false, true));
  EXPECT_NE(Gradients(true, true), Gradients(true, false));
}

TEST(Recompute, RunsOnceForwardAndOnceOnTheWayBack) {
  int calls = 0;
  Gradients(true, true, &calls);
  EXPECT_EQ(calls, 4);
}

TEST(Recompute, KeepsNothingBetweenForwardAndBackward) {
  constexpr int64_t kSize = 1 << 12;
  Leaf x(std::vector<float>(kSize, 1)), w(std::vector<float>(kSize, 2));
  const int64_t before = GetStorageStats().bytes_in_use;
  const auto outputs = Recompute(x.tensor, [&](const Tensor& in) {
    Tensor y = in;
    for (int i = 0; i < 10; ++i) y = Product(y, w.tensor, 1);
    return std::vector<Tensor>{y};
  });
  EXPECT_EQ(GetStorageStats().bytes_in_use - before, StorageBytes(kSize));
}

TEST(Recompute, WithoutGradientsItIsTheComputation) {
  Leaf x({1, 2}), w({3, 4});
  const auto block = [&](const Tensor& in) { return Block(in, w.tensor); };
  {
    const NoGrad no_grad;
    EXPECT_FALSE(Recompute(x.tensor, block)[0].requires_grad());
  }
  const Tensor fixed = Tensor::From({2}, x.values);
  const auto constant =
      Recompute(fixed, [&](const Tensor& in) { return Block(in, fixed); });
  EXPECT_FALSE(constant[0].requires_grad());
  EXPECT_TRUE(Recompute(fixed, block)[0].requires_grad());
}

void WalkThroughTheSideAlone() {
  Leaf x({1, 2}), w({3, 4});
  const auto outputs = Recompute(
      x.tensor, [&](const Tensor& in) { return Block(in, w.tensor); });
  const std::vector<float> seed = {1, 1};
  Backward(outputs[1], seed);
}

void StepBeforeTheWayBack() {
  Leaf x({1, 2}), w({3, 4});
  const auto outputs = Recompute(
      x.tensor, [&](const Tensor& in) { return Block(in, w.tensor); });
  w.values[1] += 1;
  const std::vector<float> seed = {1, 1};
  Backward(outputs[0], seed);
}

TEST(RecomputeDeathTest, AGradientThatWouldBeLostAborts) {
  EXPECT_DEATH(WalkThroughTheSideAlone(), "did not reach the first output");
}

TEST(RecomputeDeathTest, WeightsThatWereSteppedInBetweenAbort) {
  EXPECT_DEATH(StepBeforeTheWayBack(), "other values on the way back");
}

}  // namespace
}  // namespace align
