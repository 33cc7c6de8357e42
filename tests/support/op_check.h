#pragma once

// One call checks an operation whole: forward against its double oracle, and
// the gradient of every input against finite differences of that oracle.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <span>
#include <vector>

#include "align/base/rng.h"
#include "align/tensor/tape.h"
#include "tests/support/oracle.h"

namespace align {

using OracleOp =
    std::function<oracle::Matrix(const std::vector<oracle::Matrix>&)>;
using FusedOp = std::function<Tensor(const std::vector<Tensor>&)>;

inline std::vector<float> RandomFloats(int64_t count, Rng rng,
                                       double scale = 1) {
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(scale * rng.Normal());
  return values;
}

inline oracle::Matrix ToMatrix(const Shape& shape, std::span<const float> v) {
  const int64_t cols = shape.back();
  oracle::Matrix m(shape.size() == 1 ? 1 : shape[0], cols);
  for (size_t i = 0; i < v.size(); ++i) m.v[i] = v[i];
  return m;
}

// `tolerance` is absolute, for values of order one: f32 rounding times the
// length of the longest sum.
inline void CheckOp(const std::vector<Shape>& shapes, const FusedOp& fused,
                    const OracleOp& exact, double tolerance = 2e-5,
                    uint64_t seed = 1) {
  std::vector<std::vector<float>> values, grads;
  std::vector<Tensor> inputs;
  std::vector<oracle::Matrix> matrices;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const int64_t size = ElementCount(shapes[i]);
    values.push_back(RandomFloats(size, Rng(seed).Fork(i)));
    grads.emplace_back(size, 0.0f);
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    inputs.push_back(Tensor::Leaf(shapes[i], values[i], grads[i]));
    matrices.push_back(ToMatrix(shapes[i], values[i]));
  }
  const Tensor out = fused(inputs);
  const oracle::Matrix expected = exact(matrices);
  ASSERT_EQ(out.size(), static_cast<int64_t>(expected.v.size()));
  for (int64_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out.data()[i], expected.v[i],
                tolerance * (1 + std::abs(expected.v[i])))
        << "value " << i;
  }
  const std::vector<float> seeds = RandomFloats(out.size(), Rng(seed + 99));
  Backward(out, seeds);
  const auto value = [&] {
    const oracle::Matrix y = exact(matrices);
    double sum = 0;
    for (size_t i = 0; i < y.v.size(); ++i) sum += seeds[i] * y.v[i];
    return sum;
  };
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < shapes.size(); ++i) {
    for (size_t j = 0; j < values[i].size(); ++j) {
      double& x = matrices[i].v[j];
      const double before = x;
      x = before + kStep;
      const double up = value();
      x = before - kStep;
      const double down = value();
      x = before;
      const double slope = (up - down) / (2 * kStep);
      ASSERT_NEAR(grads[i][j], slope, 4 * tolerance * (1 + std::abs(slope)))
          << "gradient " << j << " of input " << i;
    }
  }
}

}  // namespace align
