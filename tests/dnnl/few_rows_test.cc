#include "align/dnnl/few_rows.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace align {
namespace {

TEST(FewRowsTest, PartsAreWholeBlocksInOrderAndMissAHalfAtMostAtEachCut) {
  for (const int64_t n : {20, 64, 200, 576, 4096}) {
    const ColumnBlocks sizes{.k = 96, .n = n, .precision = Precision::kBf16};
    const std::vector<char> memory(sizes.count() * sizes.block_bytes());
    ColumnBlocks b = sizes;
    b.data = memory.data();
    for (const int64_t parts : {1, 2, 3, 4}) {
      const char* at = memory.data();
      int64_t missed = 0;
      for (int64_t part = 0; part < parts; ++part) {
        const MemoryStretch s = FewRowsPart(b, parts, part);
        if (s.bytes == 0) continue;
        const auto* begin = static_cast<const char*>(s.begin);
        EXPECT_GE(begin, at) << n << ", " << part << " of " << parts;
        EXPECT_EQ((begin - memory.data()) % b.block_bytes(), 0);
        EXPECT_EQ(s.bytes % b.block_bytes(), 0);
        missed += begin - at;
        at = begin + s.bytes;
      }
      missed += memory.data() + memory.size() - at;
      EXPECT_GE(missed, 0) << n << ", " << parts;
      EXPECT_LE(missed, parts * b.block_bytes()) << n << ", " << parts;
    }
  }
}

}  // namespace
}  // namespace align
