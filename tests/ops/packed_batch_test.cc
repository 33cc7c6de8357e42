#include "align/ops/packed_batch.h"

#include <gtest/gtest.h>

#include <vector>

namespace align {
namespace {

TEST(PackedBatchTest, TheLastPromptRowScoresEveryFirstToken) {
  PackedBatch batch;
  const int32_t prompt = batch.AppendPrompt(std::vector<int32_t>{5, 6, 7});
  EXPECT_EQ(batch.AppendCompletion(prompt, std::vector<int32_t>{8, 9}), 0);
  EXPECT_EQ(batch.AppendCompletion(prompt, std::vector<int32_t>{4}), 1);
  EXPECT_EQ(batch.AppendCompletion(prompt, {}), 2);
  ASSERT_EQ(batch.scored.size(), 3u);
  EXPECT_EQ(batch.scored[0].row, 2);
  EXPECT_EQ(batch.scored[0].label, 8);
  EXPECT_EQ(batch.scored[1].row, 3);
  EXPECT_EQ(batch.scored[1].label, 9);
  EXPECT_EQ(batch.scored[2].row, 2);
  EXPECT_EQ(batch.scored[2].sequence, 1);
  EXPECT_EQ(batch.last_rows, (std::vector<int32_t>{4, 5, 2}));
  EXPECT_EQ(batch.ScoredOffsets(), (std::vector<int64_t>{0, 2, 3, 3}));
  EXPECT_EQ(batch.segments.Positions(),
            (std::vector<int32_t>{0, 1, 2, 3, 4, 3}));
}

TEST(PackedBatchTest, MaskedTokensAreReadButNotScored) {
  PackedBatch batch;
  const int32_t prompt = batch.AppendPrompt(std::vector<int32_t>{1});
  batch.AppendCompletion(prompt, std::vector<int32_t>{2, 3, 4},
                         std::vector<uint8_t>{0, 1, 0});
  ASSERT_EQ(batch.scored.size(), 1u);
  EXPECT_EQ(batch.scored[0].row, 1);
  EXPECT_EQ(batch.scored[0].label, 3);
  EXPECT_EQ(batch.rows(), 4);
}

TEST(SegmentsTest, ChainsAndRootsFollowPrefixes) {
  Segments segments;
  const int32_t a = segments.Append(2);
  const int32_t b = segments.Append(3, a);
  const int32_t c = segments.Append(1, b);
  const int32_t d = segments.Append(4);
  EXPECT_EQ(segments.Chain(c), (std::vector<int32_t>{a, b, c}));
  EXPECT_EQ(segments[c].position, 5);
  EXPECT_EQ(segments.Roots(), (std::vector<int32_t>{a, a, a, d}));
  EXPECT_EQ(segments.Leaves(), (std::vector<int32_t>{c, d}));
}

TEST(SegmentsDeathTest, UnknownPrefixAborts) {
  Segments segments;
  EXPECT_DEATH(segments.Append(1, 0), "prefix 0 of 0");
}

}  // namespace
}  // namespace align
