#include "align/dnnl/packed_matrix.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "align/base/rng.h"
#include "align/base/team.h"
#include "align/base/threads.h"
#include "align/dnnl/precision.h"

namespace align {
namespace {

std::vector<float> Random(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(rng.Normal());
  return values;
}

std::vector<Bf16> Truncated(const std::vector<float>& values) {
  std::vector<Bf16> out;
  for (float v : values) {
    out.push_back({static_cast<uint16_t>(std::bit_cast<uint32_t>(v) >> 16)});
  }
  return out;
}

float Widened(Bf16 v) {
  return std::bit_cast<float>(static_cast<uint32_t>(v.bits) << 16);
}

TEST(PackedMatrixTest, F32GivesTheBitsOfPlainOperands) {
  if (!PackedRowsExact(Precision::kF32)) GTEST_SKIP() << DescribeMatmul();
  for (const auto& [m, k, n] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 64, 172},
        {5, 300, 77},
        {90, 172, 64}}) {
    const std::vector<float> a = Random(m * k, 1), b = Random(k * n, 2);
    for (bool transposed : {false, true}) {
      const MatrixView view = transposed ? Transposed(RowMajor(b.data(), n, k))
                                         : RowMajor(b.data(), k, n);
      std::vector<float> plain = Random(m * n, 3), packed = plain;
      Matmul(RowMajor(a.data(), m, k), view, plain.data(), n, true);
      PackedMatrix(view, Precision::kF32)
          .Multiply(a.data(), m, packed.data(), true);
      EXPECT_EQ(std::memcmp(plain.data(), packed.data(), m * n * 4), 0)
          << m << " " << k << " " << n;
    }
  }
}

TEST(PackedMatrixTest, Bf16MultipliesRoundedValuesAndSumsInF32) {
  constexpr int64_t m = 7, k = 130, n = 33;
  const std::vector<Bf16> a = Truncated(Random(m * k, 1));
  const std::vector<Bf16> b = Truncated(Random(k * n, 2));
  std::vector<float> c(m * n);
  PackedMatrix(b.data(), k, n).Multiply(a.data(), m, c.data());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0, size = 0;
      for (int64_t l = 0; l < k; ++l) {
        const double term =
            double{Widened(a[i * k + l])} * double{Widened(b[l * n + j])};
        sum += term;
        size += std::abs(term);
      }
      // Products are exact in f32; a sum of k of them loses k half units.
      EXPECT_NEAR(c[i * n + j], sum, size * k * 6e-8);
    }
  }
}

TEST(PackedMatrixTest, RowsDoNotDependOnTheirNumberOrOnThreads) {
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    if (!PackedRowsExact(precision)) continue;
    constexpr int64_t k = 576, n = 200;
    const std::vector<float> b = Random(k * n, 2), row = Random(k, 1);
    const PackedMatrix packed(Transposed(RowMajor(b.data(), n, k)), precision);
    const auto product = [&](int64_t m) {
      std::vector<float> a, c(m * n);
      for (int64_t i = 0; i < m; ++i) a.insert(a.end(), row.begin(), row.end());
      if (precision == Precision::kF32) {
        packed.Multiply(a.data(), m, c.data());
      } else {
        packed.Multiply(Truncated(a).data(), m, c.data());
      }
      return c;
    };
    const int before = Threads();
    SetThreads(1);
    const std::vector<float> one = product(1);
    for (const int threads : {1, 2}) {
      SetThreads(threads);
      for (const int64_t m : {2, 9, 64, 211}) {
        const std::vector<float> many = product(m);
        EXPECT_EQ(std::memcmp(many.data() + (m - 1) * n, one.data(), n * 4), 0)
            << PrecisionName(precision) << ", " << m << " rows, " << threads
            << " threads";
      }
    }
    SetThreads(before);
  }
}

// Every way that a product may take: few rows, many, alone and in a team, with
// a depth of one chain of sums and of several.
TEST(PackedMatrixTest, FewRowsAndTeamsGiveTheBitsOfManyRows) {
  const int before = Threads();
  SetThreads(3);
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    if (!PackedRowsExact(precision)) continue;
    for (const auto& [k, n] : {std::pair<int64_t, int64_t>{576, 192},
                               {1537, 130},
                               {64, 77},
                               {33, 64},
                               {2100, 200},
                               {96, 20}}) {
      constexpr int64_t kMany = 430;
      const std::vector<float> b = Random(k * n, 2), a = Random(kMany * k, 1);
      const std::vector<Bf16> rounded = Truncated(a);
      const PackedMatrix packed(RowMajor(b.data(), k, n), precision);
      const auto product = [&](int64_t first, int64_t m) {
        std::vector<float> c(m * n);
        if (precision == Precision::kF32) {
          packed.Multiply(a.data() + first * k, m, c.data());
        } else {
          packed.Multiply(rounded.data() + first * k, m, c.data());
        }
        return c;
      };
      const std::vector<float> all = product(0, kMany);
      const auto check = [&](const std::string& where) {
        for (const int64_t m :
             {1, 2, 3, 4, 5, 6, 7, 8, 13, 33, 64, 65, 128, 200, 430}) {
          const int64_t first = kMany - m;
          EXPECT_EQ(std::memcmp(product(first, m).data(),
                                all.data() + first * n, m * n * 4),
                    0)
              << PrecisionName(precision) << ", " << m << " rows, " << k
              << " x " << n << where;
        }
      };
      check("");
      WithTeam([&] { check(", in a team"); });
    }
  }
  SetThreads(before);
}

TEST(PackedMatrixTest, ProductsTogetherHaveTheBitsOfEach) {
  const int before = Threads();
  SetThreads(3);
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    constexpr int64_t k = 160;
    std::vector<PackedMatrix> matrices;
    for (const int64_t n : {192, 20, 64, 130}) {
      const std::vector<float> b = Random(k * n, n);
      matrices.emplace_back(RowMajor(b.data(), k, n), precision);
    }
    for (const int64_t m : {0, 1, 7, 200}) {
      const std::vector<float> a = Random(m * k, 1);
      const std::vector<Bf16> rounded = Truncated(a);
      const void* rows = a.data();
      if (precision == Precision::kBf16) rows = rounded.data();
      // More than share a loop, too.
      for (const size_t count : {0, 1, 2, 3, 4}) {
        std::vector<std::vector<float>> together, each;
        std::vector<PackedProduct> products;
        for (size_t i = 0; i < count; ++i) {
          const PackedMatrix& b = matrices[i];
          std::vector<float>& alone = each.emplace_back(m * b.cols());
          together.emplace_back(m * b.cols());
          if (precision == Precision::kF32) {
            b.Multiply(a.data(), m, alone.data());
          } else {
            b.Multiply(rounded.data(), m, alone.data());
          }
          products.push_back({&b, together.back().data()});
        }
        PackedMatrix::MultiplyTogether(rows, m, products);
        EXPECT_EQ(together, each) << m << " rows, " << count;
        WithTeam([&] { PackedMatrix::MultiplyTogether(rows, m, products); });
        EXPECT_EQ(together, each) << m << " rows, " << count << ", in a team";
      }
    }
  }
  SetThreads(before);
}

// A team fetches the matrix that followed the last time.
TEST(PackedMatrixTest, AMatrixThatFollowedMayBeGone) {
  constexpr int64_t kK = 128, kN = 640;
  const int before = Threads();
  SetThreads(3);
  const std::vector<float> b = Random(kK * kN, 2), a = Random(kK, 1);
  const PackedMatrix first(RowMajor(b.data(), kK, kN), Precision::kF32);
  std::vector<float> expected(kN), c(kN);
  first.Multiply(a.data(), 1, expected.data());
  WithTeam([&] {
    for (int i = 0; i < 20; ++i) {
      first.Multiply(a.data(), 1, c.data());
      EXPECT_EQ(c, expected) << i;
      const PackedMatrix second(RowMajor(b.data(), kK, kN), Precision::kF32);
      second.Multiply(a.data(), 1, c.data());
      EXPECT_EQ(c, expected) << i;
    }
  });
  SetThreads(before);
}

TEST(PrecisionTest, NamesAreKnownAndOthersRefused) {
  EXPECT_EQ(*ParsePrecision("f32"), Precision::kF32);
  EXPECT_EQ(*ParsePrecision("bf16"), Precision::kBf16);
  EXPECT_EQ(*ParsePrecision("auto") == Precision::kBf16, HasFastBf16());
  EXPECT_EQ(Message(ParsePrecision("fp16").status()),
            "precision 'fp16' is unknown; expected auto, f32 or bf16");
}

}  // namespace
}  // namespace align
