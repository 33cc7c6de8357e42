#include "align/dnnl/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "align/base/rng.h"
#include "align/base/threads.h"

namespace align {
namespace {

std::vector<float> Random(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(rng.Normal());
  return values;
}

// The largest error against a product in double, in units of the row norms.
double Error(const MatrixView& a, const MatrixView& b, const float* c,
             const float* before) {
  double worst = 0;
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t j = 0; j < b.cols; ++j) {
      double sum = before == nullptr ? 0.0 : before[i * b.cols + j];
      double scale = 1;
      for (int64_t k = 0; k < a.cols; ++k) {
        const double x = a.data[i * a.row_stride + k * a.col_stride];
        const double y = b.data[k * b.row_stride + j * b.col_stride];
        sum += x * y;
        scale += std::abs(x * y);
      }
      worst = std::max(worst, std::abs(sum - c[i * b.cols + j]) / scale);
    }
  }
  return worst;
}

struct Case {
  int64_t m, k, n;
};

class MatmulTest : public ::testing::TestWithParam<Case> {};

TEST_P(MatmulTest, EqualsDoubleInAllTransposesWithAndWithoutAccumulation) {
  const auto [m, k, n] = GetParam();
  const std::vector<float> a = Random(m * k, 1), b = Random(k * n, 2);
  for (bool ta : {false, true}) {
    for (bool tb : {false, true}) {
      const MatrixView av =
          ta ? Transposed(RowMajor(a.data(), k, m)) : RowMajor(a.data(), m, k);
      const MatrixView bv =
          tb ? Transposed(RowMajor(b.data(), n, k)) : RowMajor(b.data(), k, n);
      std::vector<float> c = Random(m * n, 3);
      const std::vector<float> before = c;
      Matmul(av, bv, c.data(), n, /*accumulate=*/true);
      EXPECT_LT(Error(av, bv, c.data(), before.data()), 1e-6);
      Matmul(av, bv, c.data(), n);
      EXPECT_LT(Error(av, bv, c.data(), nullptr), 1e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, MatmulTest,
                         ::testing::Values(Case{1, 1, 1}, Case{3, 5, 7},
                                           Case{17, 64, 33}, Case{65, 129, 31},
                                           Case{130, 600, 20},
                                           Case{64, 172, 64}));

TEST(MatmulTest, RowBitsDependOnNeitherRowCountNorPositionNorThreads) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  for (const Case& s : {Case{0, 64, 172}, Case{0, 172, 64}, Case{0, 96, 513},
                        Case{0, 1408, 64}, Case{0, 300, 77}}) {
    const std::vector<float> a = Random(300 * s.k, 1), b = Random(s.k * s.n, 2);
    const MatrixView bv = Transposed(RowMajor(b.data(), s.n, s.k));
    SetThreads(1);
    std::vector<float> all(300 * s.n);
    Matmul(RowMajor(a.data(), 300, s.k), bv, all.data(), s.n);
    for (int threads : {1, 2, 3}) {
      SetThreads(threads);
      for (int64_t rows : {1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 64, 65, 129}) {
        for (int64_t begin : {0, 1, 5, 150}) {
          std::vector<float> some(rows * s.n);
          Matmul(RowMajor(a.data() + begin * s.k, rows, s.k), bv, some.data(),
                 s.n);
          ASSERT_EQ(std::memcmp(some.data(), all.data() + begin * s.n,
                                some.size() * sizeof(float)),
                    0)
              << DescribeMatmul() << " k=" << s.k << " n=" << s.n
              << " rows=" << rows << " begin=" << begin
              << " threads=" << threads;
        }
      }
    }
  }
  SetThreads(1);
}

// Rows of `m` copied to where they stand `stride` floats apart.
std::vector<float> Spread(const std::vector<float>& m, int64_t rows,
                          int64_t stride) {
  const int64_t cols = static_cast<int64_t>(m.size()) / rows;
  std::vector<float> spread(rows * stride, 9.0f);
  for (int64_t i = 0; i < rows; ++i) {
    std::copy_n(m.data() + i * cols, cols, spread.data() + i * stride);
  }
  return spread;
}

TEST(MatmulTest, BitsDoNotDependOnTheStrides) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  constexpr int64_t k = 300, n = 77, stride = 512;
  const std::vector<float> b = Random(n * k, 2);
  const std::vector<float> far_b = Spread(b, n, stride);
  for (int64_t rows : {1, 2, 7, 40}) {
    const std::vector<float> a = Random(rows * k, 1);
    const std::vector<float> before = Random(rows * n, 3);
    const std::vector<float> far_a = Spread(a, rows, stride);
    for (bool accumulate : {false, true}) {
      std::vector<float> dense = before, far = Spread(before, rows, stride);
      Matmul(RowMajor(a.data(), rows, k), Transposed(RowMajor(b.data(), n, k)),
             dense.data(), n, accumulate);
      Matmul({far_a.data(), rows, k, stride, 1},
             Transposed({far_b.data(), n, k, stride, 1}), far.data(), stride,
             accumulate);
      EXPECT_EQ(far, Spread(dense, rows, stride))
          << DescribeMatmul() << " rows=" << rows;
    }
  }
}

TEST(MatmulTest, WeightGradientBitsDoNotDependOnThreads) {
  const std::vector<float> dy = Random(900 * 64, 1), x = Random(900 * 96, 2);
  std::vector<float> one(64 * 96), three(64 * 96);
  SetThreads(1);
  Matmul(Transposed(RowMajor(dy.data(), 900, 64)), RowMajor(x.data(), 900, 96),
         one.data(), 96);
  SetThreads(3);
  Matmul(Transposed(RowMajor(dy.data(), 900, 64)), RowMajor(x.data(), 900, 96),
         three.data(), 96);
  SetThreads(1);
  EXPECT_EQ(one, three);
}

TEST(MatmulTest, EmptyInnerDimensionGivesZeros) {
  std::vector<float> c(6, 3.0f);
  Matmul(RowMajor(nullptr, 2, 0), RowMajor(nullptr, 0, 3), c.data(), 3);
  EXPECT_EQ(c, std::vector<float>(6, 0.0f));
}

}  // namespace
}  // namespace align
