#include "align/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

namespace align {
namespace {

using ::testing::ElementsAre;

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

TEST(LoaderTest, SharedPrefixChangesNoScoredTokenItsPositionOrSequence) {
  std::vector<std::vector<std::tuple<int32_t, int32_t, int32_t>>> lists;
  std::vector<int64_t> rows;
  for (const bool share : {true, false}) {
    auto loader = PairLoader::Create(SomePairs(6),
                                     {.batch_size = 6, .share_prefix = share});
    ASSERT_TRUE(loader.ok()) << loader.status();
    const auto batch = loader->Next();
    ASSERT_TRUE(batch.has_value());
    EXPECT_EQ(batch->pairs(), 6);
    const std::vector<int32_t> positions = batch->packed.segments.Positions();
    auto& list = lists.emplace_back();
    for (const ScoredToken& token : batch->packed.scored) {
      list.emplace_back(token.label, positions[token.row], token.sequence);
    }
    rows.push_back(batch->packed.rows());
  }
  EXPECT_EQ(lists[0], lists[1]);
  EXPECT_EQ(rows[1] - rows[0], 2 * (1 + 2 + 3));
}

TEST(LoaderTest, MaxTokensBoundsEveryBatchButThatOfALargerExample) {
  std::vector<SftExample> examples;
  for (const int length : {3, 3, 9, 1, 1, 1}) {
    examples.push_back({.prompt = {1},
                        .completion = std::vector<int32_t>(length, 2),
                        .mask = {},
                        .id = std::to_string(examples.size())});
  }
  auto loader = SftLoader::Create(
      examples, {.batch_size = 4, .shuffle = false, .max_tokens = 8});
  ASSERT_TRUE(loader.ok()) << loader.status();
  EXPECT_THAT(Drain(*loader),
              ElementsAre(ElementsAre("0", "1"), ElementsAre("2"),
                          ElementsAre("3", "4", "5")));
}

TEST(LoaderTest, DropLastLeavesOutShortBatchesOnly) {
  auto loader = PairLoader::Create(
      SomePairs(7),
      {.batch_size = 3, .epochs = 2, .shuffle = false, .drop_last = true});
  ASSERT_TRUE(loader.ok()) << loader.status();
  EXPECT_THAT(
      Drain(*loader),
      ElementsAre(ElementsAre("0", "1", "2"), ElementsAre("3", "4", "5"),
                  ElementsAre("0", "1", "2"), ElementsAre("3", "4", "5")));
}

TEST(LoaderTest, EndsWhenDropLastLeavesNothingOfAnEndlessLoader) {
  auto loader = PairLoader::Create(
      SomePairs(2), {.batch_size = 3, .epochs = 0, .drop_last = true});
  ASSERT_TRUE(loader.ok()) << loader.status();
  EXPECT_FALSE(loader->Next().has_value());
  EXPECT_FALSE(loader->Next().has_value());
}

TEST(LoaderTest, EndlessLoaderGoesOnWithNewEpochs) {
  auto loader =
      PairLoader::Create(SomePairs(2), {.batch_size = 2, .epochs = 0});
  ASSERT_TRUE(loader.ok()) << loader.status();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(loader->Next().has_value());
  EXPECT_EQ(loader->position(), (LoaderPosition{.epoch = 9, .index = 2}));
}

TEST(LoaderTest, PromptBatchesCarryIdsAndStreamNumbers) {
  auto loader =
      PromptLoader::Create({{.prompt = {7}, .id = "a", .number = 4},
                            {.prompt = {8, 9}, .id = "b", .number = 2}},
                           {.batch_size = 2, .shuffle = false});
  ASSERT_TRUE(loader.ok()) << loader.status();
  const auto batch = loader->Next();
  ASSERT_TRUE(batch.has_value());
  EXPECT_THAT(batch->prompts, ElementsAre(ElementsAre(7), ElementsAre(8, 9)));
  EXPECT_THAT(batch->ids, ElementsAre("a", "b"));
  EXPECT_THAT(batch->numbers, ElementsAre(4, 2));
}

std::vector<UnpairedExample> SomeUnpaired(int count) {
  std::vector<UnpairedExample> examples;
  for (int i = 0; i < count; ++i) {
    examples.push_back({.prompt = {i, i},
                        .completion = std::vector<int32_t>(1 + i % 3, 100 + i),
                        .desirable = i % 2 == 0,
                        .id = std::to_string(i),
                        .density_ratio = 0.5 * i});
  }
  return examples;
}

TEST(MismatchedPartnersTest, RotateTheRepliesOfEachGroup) {
  EXPECT_THAT(MismatchedPartners(6, 3), ElementsAre(2, 0, 1, 5, 3, 4));
  EXPECT_THAT(MismatchedPartners(5, 3), ElementsAre(2, 0, 1, 4, 3));
  EXPECT_THAT(MismatchedPartners(4, 9), ElementsAre(3, 0, 1, 2));
  // No group of one, unless there is nothing else.
  EXPECT_THAT(MismatchedPartners(4, 3), ElementsAre(2, 0, 1, 2));
  EXPECT_THAT(MismatchedPartners(1, 3), ElementsAre(0));
}

TEST(UnpairedLoaderTest, PutsTheNextReplyOfTheGroupOnEveryPrompt) {
  auto loader = UnpairedLoader::Create(
      SomeUnpaired(4),
      {.batch_size = 4, .shuffle = false, .mismatch_group = 4});
  ASSERT_TRUE(loader.ok()) << loader.status();
  const auto batch = loader->Next();
  ASSERT_TRUE(batch.has_value());
  EXPECT_TRUE(batch->mismatched);
  EXPECT_EQ(batch->rows(), 4);
  EXPECT_THAT(batch->ids, ElementsAre("0", "1", "2", "3"));
  EXPECT_THAT(batch->desirable, ElementsAre(1, 0, 1, 0));
  EXPECT_THAT(batch->density_ratios, ElementsAre(0, 0.5, 1, 1.5));
  const PackedBatch& packed = batch->packed;
  EXPECT_EQ(packed.sequences, 8);
  // Four prompts and eight replies; a prompt stands once.
  EXPECT_EQ(packed.segments.count(), 12);
  std::vector<int32_t> labels(8), prompts(8);
  for (const ScoredToken& token : packed.scored) {
    labels[token.sequence] = token.label;
  }
  for (int s = 0; s < 4; ++s) {
    prompts[s] = packed.segments[2 * s + 1].prefix;
    prompts[4 + s] = packed.segments[8 + s].prefix;
  }
  EXPECT_THAT(labels, ElementsAre(100, 101, 102, 103, 103, 100, 101, 102));
  EXPECT_THAT(prompts, ElementsAre(0, 2, 4, 6, 0, 2, 4, 6));
}

TEST(UnpairedLoaderTest, MismatchedRepliesDoNotDependOnTheMicroBatch) {
  // The labels of each record's mismatched reply, for three epochs of 11.
  const auto mismatched = [](int64_t batch_size) {
    auto loader = UnpairedLoader::Create(
        SomeUnpaired(11),
        {.batch_size = batch_size, .epochs = 3, .mismatch_group = 4});
    EXPECT_TRUE(loader.ok()) << loader.status();
    std::vector<std::pair<std::string, std::vector<int32_t>>> all;
    while (const auto batch = loader->Next()) {
      const size_t first = all.size();
      for (const std::string& id : batch->ids) {
        all.emplace_back(id, std::vector<int32_t>());
      }
      for (const ScoredToken& token : batch->packed.scored) {
        if (token.sequence < batch->rows()) continue;
        all[first + token.sequence - batch->rows()].second.push_back(
            token.label);
      }
    }
    return all;
  };
  const auto one = mismatched(1);
  ASSERT_EQ(one.size(), 33u);
  EXPECT_EQ(one, mismatched(4));
  EXPECT_EQ(one, mismatched(3));
  for (const auto& [id, labels] : one) {
    ASSERT_FALSE(labels.empty());
    EXPECT_NE(labels[0], 100 + std::stoi(id));
  }
}

TEST(UnpairedLoaderTest, WithoutAGroupNothingIsMismatched) {
  auto loader = UnpairedLoader::Create(SomeUnpaired(3), {.batch_size = 3});
  ASSERT_TRUE(loader.ok()) << loader.status();
  const auto batch = loader->Next();
  EXPECT_FALSE(batch->mismatched);
  EXPECT_EQ(batch->packed.sequences, 3);
}

TEST(LoaderTest, LargestBatchIsThatOfTheBatchesToComeInThisEpoch) {
  auto cursor = BatchCursor::Create(
      {.batch_size = 2, .epochs = 0, .shuffle = false}, {5, 1, 9, 2, 30, 1, 4});
  ASSERT_TRUE(cursor.ok()) << cursor.status();
  EXPECT_EQ(cursor->LargestBatch(0), 0);
  EXPECT_EQ(cursor->LargestBatch(1), 6);
  EXPECT_EQ(cursor->LargestBatch(2), 11);
  EXPECT_EQ(cursor->LargestBatch(3), 31);
  EXPECT_EQ(cursor->LargestBatch(int64_t{1} << 62), 31);
  for (int i = 0; i < 3; ++i) cursor->Next();
  EXPECT_EQ(cursor->LargestBatch(2), 4);
  EXPECT_EQ(cursor->position(), (LoaderPosition{.epoch = 0, .index = 6}));
}

TEST(LoaderTest, RefusesNoExamplesBadOptionsAndPositionsOutside) {
  EXPECT_EQ(PairLoader::Create({}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  for (const LoaderOptions& options :
       {LoaderOptions{.batch_size = 0}, LoaderOptions{.epochs = -1},
        LoaderOptions{.max_tokens = -1}, LoaderOptions{.mismatch_group = -1}}) {
    EXPECT_EQ(PairLoader::Create(SomePairs(2), options).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  auto loader = PairLoader::Create(SomePairs(2), {});
  ASSERT_TRUE(loader.ok()) << loader.status();
  for (const LoaderPosition& position :
       {LoaderPosition{.epoch = -1}, LoaderPosition{.index = -1},
        LoaderPosition{.index = 3}}) {
    EXPECT_EQ(loader->Seek(position).code(), absl::StatusCode::kOutOfRange);
  }
}

}  // namespace
}  // namespace align
