#include "align/train/reference_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/base/log.h"
#include "tests/support/tiny_adapters.h"
#include "tests/support/tiny_model.h"
#include "tests/train/tiny_pairs.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

class ReferenceCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/align_reference_" + std::to_string(::getpid());
    model_ = TinyModel(3);
    SetLogSink([this](LogLevel level, const std::string& line) {
      if (level == LogLevel::kWarning) warnings_ += line + "\n";
    });
  }
  void TearDown() override {
    SetLogSink({});
    std::filesystem::remove_all(directory_);
  }

  // Each batch as many times as there are epochs.
  static Source<PackedBatch> Batches(std::vector<PackedBatch> batches,
                                     size_t epochs = 1) {
    return [batches = std::move(batches), epochs,
            next = size_t{0}]() mutable -> std::optional<PackedBatch> {
      if (next == epochs * batches.size()) return std::nullopt;
      return batches[next++ % batches.size()];
    };
  }
  // Counts what the model is asked for.
  ReferenceLogProbs Counted() {
    return [this, frozen = FrozenReference(*model_)](const PackedBatch& batch) {
      ++calls_;
      scored_ += batch.sequences;
      return frozen(batch);
    };
  }
  ReferenceCache Open() {
    auto cache =
        ReferenceCache::Open(directory_, *ReferenceFingerprint(*model_));
    ALIGN_CHECK(cache.ok()) << cache.status().ToString();
    return *std::move(cache);
  }
  // How many sequences of `batches` were not there.
  int64_t Score(const std::vector<PackedBatch>& batches) {
    ReferenceCache cache = Open();
    const auto fresh = cache.Score(Counted(), Batches(batches));
    ALIGN_CHECK(fresh.ok()) << fresh.status().ToString();
    for (const PackedBatch& batch : batches) {
      EXPECT_EQ(*cache.LogProbs()(batch), *FrozenReference(*model_)(batch));
    }
    return *fresh;
  }
  void Damage(size_t from_end) {
    auto bytes = ReadFile(Open().path());
    ASSERT_TRUE(bytes.ok());
    (*bytes)[bytes->size() - from_end] ^= 1;
    ASSERT_TRUE(WriteFileAtomically(Open().path(), *bytes).ok());
  }

  std::string directory_, warnings_;
  std::unique_ptr<Model> model_;
  int calls_ = 0;
  int64_t scored_ = 0;
};

TEST_F(ReferenceCacheTest, HasTheBitsOfTheReferenceAndAsksOnceASequence) {
  const std::vector<PackedBatch> batches = {
      TinyPairs(0, 3).packed, TinyPairs(3, 3).packed, TinyPairs(4, 4).packed};
  ReferenceCache cache = Open();
  const auto fresh =
      cache.Score(Counted(), Batches(batches, /*epochs=*/3), {.rows = 1});
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  EXPECT_EQ(*fresh, 16);
  EXPECT_EQ(scored_, 16);
  EXPECT_EQ(calls_, 3);
  for (const PackedBatch& batch : batches) {
    EXPECT_EQ(*cache.LogProbs()(batch), *FrozenReference(*model_)(batch));
  }
  const PackedBatch apart = TinyPairs(2, 5, Packing::kSeparate).packed;
  EXPECT_EQ(*cache.LogProbs()(apart), *FrozenReference(*model_)(apart));
}

TEST_F(ReferenceCacheTest, SmallBatchesArePackedTogether) {
  std::vector<PackedBatch> batches;
  for (int64_t i = 0; i < 20; ++i) batches.push_back(TinyPairs(i, 1).packed);
  EXPECT_EQ(Score(batches), 40);
  EXPECT_EQ(calls_, 1);
}

TEST_F(ReferenceCacheTest, ReadsFromTheFileWhatItScoredBefore) {
  EXPECT_EQ(Score({TinyPairs(0, 4).packed}), 8);
  EXPECT_EQ(Score({TinyPairs(2, 2).packed, TinyPairs(0, 2).packed}), 0);
  EXPECT_EQ(calls_, 1);
  EXPECT_EQ(Score({TinyPairs(2, 4).packed}), 4);
  EXPECT_EQ(scored_, 12);
}

TEST_F(ReferenceCacheTest, BatchesOfOtherDataAreRefused) {
  ReferenceCache cache = Open();
  ASSERT_TRUE(cache.Score(Counted(), Batches({TinyPairs(0, 2).packed})).ok());
  const auto other = cache.LogProbs()(TinyPairs(1, 2).packed);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(other.status()), HasSubstr("sequence 2 of 4"));
}

TEST_F(ReferenceCacheTest, WhatChangesScoresChangesTheFingerprint) {
  std::set<std::string> seen;
  const auto is_new = [&](double temperature = 1) {
    return seen.insert(*ReferenceFingerprint(*model_, temperature)).second;
  };
  EXPECT_TRUE(is_new());
  EXPECT_FALSE(is_new());
  EXPECT_TRUE(is_new(0.5));
  EXPECT_TRUE(is_new(0.5000000001));
  model_->params().SetPrecision(Precision::kBf16);
  EXPECT_TRUE(is_new());
  model_->params().values(0)[0] += 1;
  EXPECT_TRUE(is_new());
  AddLearnedAdapters({.rank = 2, .alpha = 4}, *model_);
  EXPECT_TRUE(is_new());
  model_->adapters()->params().values(0)[0] += 1;
  EXPECT_TRUE(is_new());
  model_ = TinyModel(3, /*tied=*/true);
  EXPECT_TRUE(is_new());
}

TEST_F(ReferenceCacheTest, AnotherModelKeepsAFileOfItsOwn) {
  EXPECT_EQ(Score({TinyPairs(0, 4).packed}), 8);
  const std::string first = Open().path();
  const float weight = model_->params().values(0)[0];
  model_->params().values(0)[0] = weight + 1;
  EXPECT_EQ(Score({TinyPairs(0, 4).packed}), 8);
  EXPECT_NE(Open().path(), first);
  model_->params().values(0)[0] = weight;
  EXPECT_EQ(Score({TinyPairs(0, 4).packed}), 0);
}

TEST_F(ReferenceCacheTest, AFileOfAnotherModelIsRefusedAndStays) {
  EXPECT_EQ(Score({TinyPairs(0, 4).packed}), 8);
  const std::string moved = Open().path();
  const std::string bytes = *ReadFile(moved);
  model_->params().values(0)[0] += 1;
  const std::string fingerprint = *ReferenceFingerprint(*model_);
  const std::string path = directory_ + "/" + fingerprint + ".tfrecord";
  std::filesystem::rename(moved, path);
  const auto cache = ReferenceCache::Open(directory_, fingerprint);
  EXPECT_EQ(cache.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(cache.status()), HasSubstr("expected " + fingerprint));
  EXPECT_EQ(*ReadFile(path), bytes);
}

TEST_F(ReferenceCacheTest, ADamagedSequenceIsScoredAgain) {
  EXPECT_EQ(Score({TinyPairs(0, 4).packed}), 8);
  Damage(/*from_end=*/6);  // in the last record's payload
  warnings_.clear();
  EXPECT_EQ(Score({TinyPairs(0, 4).packed}), 1);
  EXPECT_THAT(warnings_, HasSubstr("1 of 8 sequences are damaged"));
  warnings_.clear();
  EXPECT_EQ(Score({TinyPairs(0, 4).packed}), 0);
  EXPECT_EQ(warnings_, "");
}

TEST_F(ReferenceCacheTest, AFileCutOffAnywhereIsScoredAgain) {
  EXPECT_EQ(Score({TinyPairs(0, 2).packed}), 4);
  const std::string path = Open().path(), whole = *ReadFile(path);
  for (size_t size = 0; size < whole.size(); size += 7) {
    ASSERT_TRUE(WriteFileAtomically(path, whole.substr(0, size)).ok());
    ReferenceCache cache = Open();
    ASSERT_TRUE(
        cache.Score(FrozenReference(*model_), Batches({TinyPairs(0, 2).packed}))
            .ok())
        << size;
    EXPECT_EQ(*ReadFile(path), whole) << size;
  }
}

TEST_F(ReferenceCacheTest, StoppedScoringGoesOnWhereItWas) {
  const std::vector<PackedBatch> batches = {
      TinyPairs(0, 2).packed, TinyPairs(2, 2).packed, TinyPairs(4, 2).packed};
  ReferenceCache cache = Open();
  const auto stopped =
      cache.Score(Counted(), Batches(batches),
                  {.rows = 1, .stop = [this] { return calls_ == 2; }});
  EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Score(batches), 4);
  EXPECT_EQ(scored_, 12);
}

TEST_F(ReferenceCacheTest, InMemoryOnlyNewSequencesAreAskedFor) {
  const ReferenceLogProbs cached = CachedReference(Counted());
  ASSERT_TRUE(cached(TinyPairs(0, 4).packed).ok());
  const PackedBatch mixed = TinyPairs(2, 4).packed;
  EXPECT_EQ(*cached(mixed), *FrozenReference(*model_)(mixed));
  EXPECT_EQ(scored_, 12);
}

TEST(AppendSequences, KeepsWhatScoresDependOnAndWhatIsShared) {
  const PackedBatch batch = TinyPairs(0, 3).packed;
  const std::vector<std::string> keys = SequenceKeys(batch);
  PackedBatch some;
  AppendSequences(batch, std::vector<int32_t>{2, 3, 5}, some);
  AppendSequences(batch, std::vector<int32_t>{0}, some);
  EXPECT_EQ(SequenceKeys(some),
            (std::vector<std::string>{keys[2], keys[3], keys[5], keys[0]}));
  EXPECT_EQ(some.segments.count(), 7);  // three prompts
  EXPECT_EQ(some.rows(), static_cast<int64_t>(some.tokens.size()));
  const std::vector<int64_t> offsets = batch.ScoredOffsets();
  EXPECT_EQ(static_cast<int64_t>(some.scored.size()),
            offsets[1] + offsets[4] - offsets[2] + offsets[6] - offsets[5]);
  // The last row holds the last token of the reply.
  EXPECT_EQ(some.tokens[some.last_rows[1]], batch.tokens[batch.last_rows[3]]);
}

}  // namespace
}  // namespace align::train
