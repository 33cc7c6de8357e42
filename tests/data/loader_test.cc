#include "align/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

#include "align/text/byte_tokenizer.h"
#include "proto/records.pb.h"

namespace align {
namespace {

using ::testing::ElementsAre;

pb::Record Pair(const std::string& prompt, const std::string& chosen,
                const std::string& rejected) {
  pb::Record record;
  record.mutable_preference()->mutable_prompt()->set_text(prompt);
  record.mutable_preference()->set_chosen(chosen);
  record.mutable_preference()->set_rejected(rejected);
  return record;
}

std::vector<PairExample> SomePairs(int count) {
  std::vector<PairExample> pairs;
  for (int i = 0; i < count; ++i) {
    pairs.push_back({.prompt = std::vector<int32_t>(1 + i % 3, i),
                     .chosen = std::vector<int32_t>(1 + i % 4, i + 100),
                     .rejected = std::vector<int32_t>(2 + i % 2, i + 200),
                     .margin = 0.5 * i,
                     .id = std::to_string(i)});
  }
  return pairs;
}

// The ids of every batch that is left.
template <class AnyLoader>
std::vector<std::vector<std::string>> Drain(AnyLoader& loader) {
  std::vector<std::vector<std::string>> ids;
  while (auto batch = loader.Next()) ids.push_back(batch->ids);
  return ids;
}

TEST(ExampleOrderTest, IsAPermutationOfItsOwnPerSeedAndEpoch) {
  std::vector<int64_t> all(50);
  std::iota(all.begin(), all.end(), 0);
  std::set<std::vector<int64_t>> distinct;
  for (const uint64_t seed : {0, 1}) {
    for (const int64_t epoch : {0, 1, 2}) {
      std::vector<int64_t> order = ExampleOrder(50, seed, epoch);
      EXPECT_EQ(order, ExampleOrder(50, seed, epoch));
      distinct.insert(order);
      std::sort(order.begin(), order.end());
      EXPECT_EQ(order, all);
    }
  }
  EXPECT_EQ(distinct.size(), 6u);
}

TEST(LoaderTest, VisitsEveryExampleOnceAnEpochInExampleOrder) {
  auto loader =
      PairLoader::Create(SomePairs(7), {.batch_size = 3, .epochs = 2});
  ASSERT_TRUE(loader.ok()) << loader.status();
  std::vector<std::string> seen;
  std::vector<size_t> sizes;
  for (const auto& ids : Drain(*loader)) {
    sizes.push_back(ids.size());
    seen.insert(seen.end(), ids.begin(), ids.end());
  }
  std::vector<std::string> expected;
  for (const int64_t epoch : {0, 1}) {
    for (const int64_t i : ExampleOrder(7, 0, epoch)) {
      expected.push_back(std::to_string(i));
    }
  }
  EXPECT_EQ(seen, expected);
  EXPECT_THAT(sizes, ElementsAre(3, 3, 1, 3, 3, 1));
}

TEST(LoaderTest, ResumeAtAnyPositionEqualsStraightThrough) {
  const LoaderOptions options{
      .batch_size = 3, .epochs = 3, .seed = 5, .max_tokens = 17};
  auto straight = PairLoader::Create(SomePairs(11), options);
  ASSERT_TRUE(straight.ok());
  std::vector<LoaderPosition> positions = {straight->position()};
  std::vector<PreferenceBatch> batches;
  while (auto batch = straight->Next()) {
    batches.push_back(*std::move(batch));
    positions.push_back(straight->position());
  }
  ASSERT_GT(batches.size(), 11u);
  for (size_t k = 0; k < positions.size(); ++k) {
    auto resumed = PairLoader::Create(SomePairs(11), options);
    ASSERT_TRUE(resumed->Seek(positions[k]).ok());
    for (size_t i = k; i < batches.size(); ++i) {
      const auto batch = resumed->Next();
      ASSERT_TRUE(batch.has_value());
      EXPECT_EQ(batch->ids, batches[i].ids);
      EXPECT_EQ(batch->margins, batches[i].margins);
      EXPECT_EQ(batch->packed.tokens, batches[i].packed.tokens);
    }
    EXPECT_FALSE(resumed->Next().has_value());
  }
}

TEST(TokenizeTest, PairsAreBosPromptAndRepliesWithEos) {
  const auto pairs = TokenizePairs(std::vector<pb::Record>{Pair("a", "b", "")},
                                   ByteTokenizer(), {});
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  ASSERT_EQ(pairs->examples.size(), 1u);
  const PairExample& pair = pairs->examples[0];
  EXPECT_THAT(pair.prompt, ElementsAre(ByteTokenizer::kBos, 'a'));
  EXPECT_THAT(pair.chosen, ElementsAre('b', ByteTokenizer::kEos));
  EXPECT_THAT(pair.rejected, ElementsAre(ByteTokenizer::kEos));
  EXPECT_EQ(pair.id, "#0");
}

TEST(TokenizeTest, TextBlocksLabelEveryTokenOfTheStreamButTheFirstOnes) {
  std::vector<pb::Record> records(3);
  records[0].mutable_text()->set_text("abcde");
  records[1].mutable_text()->set_text("");
  records[2].mutable_text()->set_text("fgh");
  std::vector<int32_t> stream = {ByteTokenizer::kBos,
                                 'a',
                                 'b',
                                 'c',
                                 'd',
                                 'e',
                                 ByteTokenizer::kEos,
                                 ByteTokenizer::kBos,
                                 'f',
                                 'g',
                                 'h',
                                 ByteTokenizer::kEos};
  for (const int64_t length : {2, 3, 4, 5, 11, 12, 20}) {
    const auto blocks =
        TokenizeTextBlocks(records, ByteTokenizer(), {.block_length = length});
    ASSERT_TRUE(blocks.ok()) << blocks.status();
    EXPECT_EQ(blocks->counts.dropped.at("empty text"), 1);
    auto loader = SftLoader::Create(blocks->examples,
                                    {.batch_size = 2, .shuffle = false});
    ASSERT_TRUE(loader.ok()) << loader.status();
    std::vector<int32_t> labels;
    while (const auto batch = loader->Next()) {
      for (const ScoredToken& token : batch->packed.scored) {
        labels.push_back(token.label);
      }
    }
    std::vector<int32_t> expected;
    for (int64_t i = 0; i < static_cast<int64_t>(stream.size()); ++i) {
      if (i % length != 0) expected.push_back(stream[i]);
    }
    EXPECT_EQ(labels, expected) << "block_length " << length;
  }
}

}  // namespace
}  // namespace align
