#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "align/base/bf16_bits.h"
#include "align/ops/ops.h"
#include "tests/support/op_check.h"

namespace align {
namespace {

float Rounded(float x) {
  return std::bit_cast<float>(RoundedBf16Bits(std::bit_cast<uint32_t>(x))
                              << 16);
}

std::vector<float> RoundedFloats(int64_t count, Rng rng) {
  std::vector<float> values = RandomFloats(count, rng);
  for (float& x : values) x = Rounded(x);
  return values;
}

// A prompt with two completions, one of which is continued, and more than two
// tiles of 16 in all.
Segments Tree() {
  Segments segments;
  const int32_t prompt = segments.Append(21);
  segments.Append(5, prompt);
  const int32_t reply = segments.Append(9, prompt);
  segments.Append(4, reply);
  return segments;
}

std::vector<AttentionShape> Shapes() {
  std::vector<AttentionShape> shapes = {
      {.heads = 1, .kv_heads = 1, .head_dim = 1},
      {.heads = 4, .kv_heads = 2, .head_dim = 8},
      {.heads = 3, .kv_heads = 1, .head_dim = 5, .value_dim = 18},
      {.heads = 2, .kv_heads = 1, .head_dim = 6, .window = 7},
      {.heads = 2, .kv_heads = 2, .head_dim = 64, .soft_cap = 2},
      {.heads = 9, .kv_heads = 1, .head_dim = 33, .window = 18}};
  for (AttentionShape& shape : shapes) shape.precision = Precision::kBf16;
  return shapes;
}

// Of random bf16, in f32 and as the oracle takes them.
struct Inputs {
  explicit Inputs(const AttentionShape& shape)
      : n(Tree().rows()),
        widths({shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim,
                shape.kv_heads * shape.ValueDim()}) {
    for (size_t i = 0; i < widths.size(); ++i) {
      values.push_back(RoundedFloats(n * widths[i], Rng(1).Fork(i)));
      grads.emplace_back(values[i].size(), 0.0f);
      matrices.push_back(ToMatrix({n, widths[i]}, values[i]));
    }
  }
  Tensor Run(const AttentionShape& shape) {
    std::vector<Tensor> leaves;
    for (size_t i = 0; i < widths.size(); ++i) {
      leaves.push_back(Tensor::Leaf({n, widths[i]}, values[i], grads[i]));
    }
    return Attention(leaves[0], leaves[1], leaves[2], Tree(), shape);
  }

  int64_t n;
  std::vector<int64_t> widths;
  std::vector<std::vector<float>> values, grads;
  std::vector<oracle::Matrix> matrices;
};

// One head of one row over the rows that it sees, with rounded exponentials.
std::vector<double> Mix(const Inputs& in, const AttentionShape& shape,
                        int64_t row, int64_t head,
                        const std::vector<int64_t>& seen) {
  const int64_t dim = shape.head_dim, value_dim = shape.ValueDim();
  const int64_t kv = head / (shape.heads / shape.kv_heads);
  std::vector<double> scores;
  for (const int64_t j : seen) {
    double score = 0;
    for (int64_t d = 0; d < dim; ++d) {
      score +=
          in.matrices[0](row, head * dim + d) * in.matrices[1](j, kv * dim + d);
    }
    score /= std::sqrt(static_cast<double>(dim));
    if (shape.soft_cap > 0) {
      score = shape.soft_cap * std::tanh(score / shape.soft_cap);
    }
    scores.push_back(score);
  }
  const double most = *std::max_element(scores.begin(), scores.end());
  std::vector<double> out(value_dim);
  double sum = 0;
  for (size_t j = 0; j < seen.size(); ++j) {
    const double e = Rounded(static_cast<float>(std::exp(scores[j] - most)));
    sum += e;
    for (int64_t d = 0; d < value_dim; ++d) {
      out[d] += e * in.matrices[2](seen[j], kv * value_dim + d);
    }
  }
  for (double& x : out) x /= sum;
  return out;
}

// All but a few values, whose exponentials lie so near to the middle of two
// bf16 that f32 rounds them to the other one.
TEST(AttentionBf16Test, IsThatOfRoundedExponentials) {
  for (const AttentionShape& shape : Shapes()) {
    Inputs in(shape);
    const Tensor out = in.Run(shape);
    const Segments segments = Tree();
    int64_t far = 0;
    for (int32_t s = 0; s < segments.count(); ++s) {
      for (int64_t r = 0; r < segments[s].length; ++r) {
        std::vector<int64_t> seen;
        for (const int32_t c : segments.Chain(s)) {
          const int64_t rows = c == s ? r + 1 : segments[c].length;
          for (int64_t i = 0; i < rows; ++i) {
            seen.push_back(segments[c].begin + i);
          }
        }
        const auto extra = static_cast<int64_t>(seen.size()) - shape.window;
        if (shape.window > 0 && extra > 0) {
          seen.erase(seen.begin(), seen.begin() + extra);
        }
        const int64_t row = segments[s].begin + r;
        for (int64_t head = 0; head < shape.heads; ++head) {
          const std::vector<double> expected = Mix(in, shape, row, head, seen);
          const float* got =
              out.data() + (row * shape.heads + head) * shape.ValueDim();
          for (size_t d = 0; d < expected.size(); ++d) {
            const double error = std::abs(got[d] - expected[d]);
            ASSERT_LT(error, 0x1p-7);
            far += error > 1e-5 ? 1 : 0;
          }
        }
      }
    }
    EXPECT_LE(far, out.size() / 50) << "head_dim " << shape.head_dim;
  }
}

// Gradients of the smooth function, as finite differences of the double oracle
// at the same rounded q, k and v. What is rounded on the way (exponentials,
// d(out) and the gradients of scores) moves a product by at most 2^-8 of
// itself, and a sum of many by far less.
TEST(AttentionBf16Test, GradientsAreThoseOfAttentionToRounding) {
  for (const AttentionShape& shape : Shapes()) {
    if (shape.head_dim > 8) continue;  // the rest takes long
    Inputs in(shape);
    const Tensor out = in.Run(shape);
    const std::vector<float> seeds = RandomFloats(out.size(), Rng(9));
    Backward(out, seeds);
    const auto value = [&] {
      const oracle::Matrix y = oracle::Attention(in.matrices[0], in.matrices[1],
                                                 in.matrices[2], Tree(), shape);
      double sum = 0;
      for (size_t i = 0; i < y.v.size(); ++i) sum += seeds[i] * y.v[i];
      return sum;
    };
    for (size_t i = 0; i < in.matrices.size(); ++i) {
      double difference = 0, norm = 0;
      for (size_t j = 0; j < in.values[i].size(); ++j) {
        constexpr double kStep = 1e-5;
        double& x = in.matrices[i].v[j];
        const double before = x;
        x = before + kStep;
        const double up = value();
        x = before - kStep;
        const double slope = (up - value()) / (2 * kStep);
        x = before;
        difference += std::pow(in.grads[i][j] - slope, 2);
        norm += slope * slope;
      }
      EXPECT_LT(std::sqrt(difference / (norm + 1e-12)), 0x1p-8)
          << "input " << i << ", head_dim " << shape.head_dim;
    }
  }
}

// Bits of f32 below those of bf16 change nothing in v, but do in q and k.
TEST(AttentionBf16Test, RoundsValuesAlone) {
  for (const AttentionShape& shape : Shapes()) {
    const auto run = [&](Inputs in) {
      const Tensor out = in.Run(shape);
      return std::vector<float>(out.values().begin(), out.values().end());
    };
    for (size_t i = 0; i < 3; ++i) {
      Inputs nudged(shape);
      for (float& x : nudged.values[i]) x *= 1 + 0x1p-10f;
      EXPECT_EQ(run(Inputs(shape)) == run(nudged), i == 2) << i;
    }
  }
}

}  // namespace
}  // namespace align
