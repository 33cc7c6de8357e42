#include "align/dnnl/few_rows.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "align/base/threads.h"

namespace align {
namespace {

TEST(FewRowsTest, PartsAreWholeBlocksInOrderAndMissAHalfAtMostAtEachCut) {
  for (const std::vector<int64_t>& columns :
       std::vector<std::vector<int64_t>>{{20},
                                         {64},
                                         {200},
                                         {4096},
                                         {576, 192, 192},
                                         {20, 576},
                                         {1536, 1536}}) {
    std::vector<ColumnBlocks> b;
    int64_t bytes = 0;
    for (const int64_t n : columns) {
      b.push_back({.k = 96, .n = n, .precision = Precision::kBf16});
      bytes += b.back().count() * b.back().block_bytes();
    }
    // One behind the other, so that what is left out between them is seen.
    const std::vector<char> memory(bytes);
    const char* end = memory.data();
    for (ColumnBlocks& one : b) {
      one.data = end;
      end += one.count() * one.block_bytes();
    }
    for (const int64_t parts : {1, 2, 3, 4}) {
      const char* at = memory.data();
      int64_t missed = 0;
      for (int64_t part = 0; part < parts; ++part) {
        std::vector<MemoryStretch> stretches;
        AppendFewRowsPart(b, parts, part, stretches);
        for (const MemoryStretch& s : stretches) {
          const auto* begin = static_cast<const char*>(s.begin);
          EXPECT_GE(begin, at) << part << " of " << parts;
          EXPECT_EQ((begin - memory.data()) % b[0].block_bytes(), 0);
          EXPECT_EQ(s.bytes % b[0].block_bytes(), 0);
          EXPECT_GT(s.bytes, 0);
          missed += begin - at;
          at = begin + s.bytes;
        }
      }
      missed += end - at;
      EXPECT_GE(missed, 0) << parts;
      EXPECT_LE(missed, (parts - 1) * b[0].block_bytes()) << parts;
    }
  }
}

// With parts that are empty, and threads that find theirs taken.
TEST(FewRowsTest, EveryValueIsComputedWhoeverTakesIt) {
  if (MaxFewRows(Precision::kF32) == 0) GTEST_SKIP() << "no kernel";
  constexpr int64_t kK = 32, kRows = 7;
  const int before = Threads();
  // Sums of small integers are exact.
  std::vector<float> a(kRows * kK);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 5);
  for (const int threads : {1, 2, 3, 4, 70}) {
    SetThreads(threads);
    for (const std::vector<int64_t>& columns :
         std::vector<std::vector<int64_t>>{
             {1}, {40}, {64, 33, 100}, {1000, 20}, {576, 192, 192}}) {
      std::vector<std::vector<float>> packed, c;
      std::vector<FewRowsProduct> products;
      for (const int64_t n : columns) {
        ColumnBlocks b{.k = kK, .n = n, .precision = Precision::kF32};
        std::vector<float>& values =
            packed.emplace_back(b.count() * b.block_bytes() / 4);
        for (size_t i = 0; i < values.size(); ++i) {
          values[i] = static_cast<float>(i % 7);
        }
        b.data = values.data();
        // A row more, which nobody may touch.
        c.emplace_back((kRows + 1) * n, -1.0f);
        products.push_back({b, kK, c.back().data()});
      }
      MultiplyFewRows(a.data(), kRows, products);
      WithTeam([&] { MultiplyFewRows(a.data(), kRows, products); });
      for (size_t p = 0; p < columns.size(); ++p) {
        const int64_t n = columns[p];
        for (int64_t i = 0; i < kRows; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            float sum = 0;
            for (int64_t k = 0; k < kK; ++k) {
              sum += a[i * kK + k] * packed[p][(j / 64 * kK + k) * 64 + j % 64];
            }
            ASSERT_EQ(c[p][i * n + j], sum) << threads << " threads, " << n
                                            << " columns, " << i << ", " << j;
          }
        }
        EXPECT_EQ(std::vector<float>(c[p].end() - n, c[p].end()),
                  std::vector<float>(n, -1.0f));
      }
    }
  }
  SetThreads(before);
}

}  // namespace
}  // namespace align
