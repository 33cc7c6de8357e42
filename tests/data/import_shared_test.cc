#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "align/data/import.h"
#include "align/data/records.h"
#include "proto/records.pb.h"

namespace align {
namespace {

using Counts = std::map<std::string, int64_t>;

struct Outcome {
  Counts taken;
  Counts dropped;
  std::vector<pb::Record> records;
};

Outcome ImportShared(const std::string& name) {
  const std::string out = ::testing::TempDir() + "/align_import_shared_" +
                          std::to_string(::getpid());
  const std::vector<std::string> inputs{std::string(ALIGN_SHARED_DIR) +
                                        "/data/" + name};
  const auto result = Import(inputs, out, {});
  EXPECT_TRUE(result.ok()) << result.status();
  Outcome outcome;
  for (const auto& taken : result->files[0].taken) {
    outcome.taken[taken.shape] = taken.count;
  }
  for (const auto& dropped : result->files[0].dropped) {
    outcome.dropped[dropped.reason] = dropped.count;
  }
  auto records = ReadRecords(out);
  EXPECT_TRUE(records.ok()) << records.status();
  outcome.records = *std::move(records);
  std::filesystem::remove(out);
  return outcome;
}

// The counts were made with a script of their own over the same rule.
TEST(ImportSharedTest, HhHelpfulBase) {
  const Outcome outcome = ImportShared("hh-rlhf/helpful-base_test.jsonl.gz");
  EXPECT_EQ(outcome.taken, (Counts{{"chosen and rejected transcripts", 2339}}));
  EXPECT_EQ(outcome.dropped, (Counts{{"no common prompt", 9},
                                     {"empty reply", 4},
                                     {"chosen equals rejected", 2}}));
  for (const pb::Record& record : outcome.records) {
    const auto& prompt = record.preference().prompt().text();
    EXPECT_TRUE(prompt.ends_with("\n\nAssistant:"));
    EXPECT_EQ(record.preference().chosen().find("\n\nHuman:"),
              std::string::npos);
  }
}

TEST(ImportSharedTest, HhHarmlessBase) {
  const Outcome outcome = ImportShared("hh-rlhf/harmless-base_test.jsonl.gz");
  EXPECT_EQ(outcome.taken, (Counts{{"chosen and rejected transcripts", 2303}}));
  EXPECT_EQ(outcome.dropped,
            (Counts{{"no common prompt", 5}, {"empty reply", 4}}));
}

TEST(ImportSharedTest, HhHelpfulOnline) {
  const Outcome outcome = ImportShared("hh-rlhf/helpful-online_test.jsonl.gz");
  EXPECT_EQ(outcome.taken, (Counts{{"chosen and rejected transcripts", 1130}}));
  EXPECT_EQ(outcome.dropped, (Counts{{"no common prompt", 2},
                                     {"empty reply", 3},
                                     {"chosen equals rejected", 2}}));
}

TEST(ImportSharedTest, LlamaFactorySets) {
  EXPECT_EQ(ImportShared("llamafactory/dpo_en_demo.json").taken,
            (Counts{{"conversations, chosen, rejected", 300}}));
  const Outcome kto = ImportShared("llamafactory/kto_en_demo.json");
  EXPECT_EQ(kto.taken, (Counts{{"messages, label", 300}}));
  EXPECT_EQ(std::count_if(kto.records.begin(), kto.records.end(),
                          [](const pb::Record& record) {
                            return record.unpaired().label();
                          }),
            150);
  EXPECT_EQ(ImportShared("llamafactory/alpaca_en_demo.json").taken,
            (Counts{{"instruction, output", 999}}));
  EXPECT_EQ(ImportShared("llamafactory/v1_sft_demo.jsonl").taken,
            (Counts{{"messages", 500}}));
  EXPECT_EQ(ImportShared("llamafactory/c4_demo.jsonl").taken,
            (Counts{{"text", 300}}));
}

TEST(ImportSharedTest, TinyStoriesAndReviewsAreTexts) {
  EXPECT_EQ(ImportShared("tinystories/tinystories_split.jsonl").taken,
            (Counts{{"text", 1011}}));
  EXPECT_EQ(ImportShared("imdb/imdb_test.jsonl.gz").taken,
            (Counts{{"text", 25000}}));
}

}  // namespace
}  // namespace align
