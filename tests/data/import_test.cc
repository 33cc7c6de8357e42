#include "align/data/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/data/records.h"
#include "proto/records.pb.h"

namespace align {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ImportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/align_import_test_" +
              std::to_string(::getpid()) + "/";
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ + name, std::ios::binary) << bytes;
    return folder_ + name;
  }
  std::string out() const { return folder_ + "out.tfrecord"; }

  std::string folder_;
};

constexpr char kMixed[] =
    "{\"text\":\"one\"}\n"
    "{\"text\":\n"
    "\n"
    "{\"text\":\"caf\xe9\"}\n"
    "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\",\"id\":\"own\"}\n"
    "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"a\"}\n"
    "{\"prompt\":\"p\",\"chosen\":\"b\",\"rejected\":\"b\"}\n";

TEST_F(ImportTest, TakesTheGoodRowsAndNamesTheOthers) {
  const std::vector<std::string> inputs{Write("mixed.jsonl", kMixed)};
  const auto result = Import(inputs, out(), {.examples_per_reason = 1});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->rows, 6);
  EXPECT_EQ(result->records, 2);
  EXPECT_EQ(result->dropped(), 4);
  EXPECT_EQ(result->bytes, static_cast<int64_t>(sizeof kMixed - 1));
  ASSERT_EQ(result->files.size(), 1u);
  const ImportedFile& file = result->files[0];
  ASSERT_EQ(file.taken.size(), 2u);
  ASSERT_EQ(file.dropped.size(), 3u);
  EXPECT_EQ(file.dropped[0].reason, "bad JSON");
  EXPECT_EQ(file.dropped[0].first[0].where, inputs[0] + ":2");
  EXPECT_EQ(file.dropped[1].reason, "not UTF-8");
  EXPECT_EQ(file.dropped[1].first[0].where, inputs[0] + ":4");
  EXPECT_EQ(file.dropped[2].reason, "chosen equals rejected");
  EXPECT_EQ(file.dropped[2].count, 2);
  EXPECT_EQ(file.dropped[2].first.size(), 1u);
}

TEST_F(ImportTest, RecordsSayWhereTheyComeFrom) {
  const std::vector<std::string> inputs{Write("mixed.jsonl", kMixed)};
  ASSERT_TRUE(Import(inputs, out(), {}).ok());
  const auto records = ReadRecords(out());
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ((*records)[0].text().text(), "one");
  EXPECT_EQ((*records)[0].text().id(), "mixed.jsonl:1");
  EXPECT_EQ((*records)[0].text().source(), inputs[0] + ":1");
  EXPECT_EQ((*records)[1].preference().id(), "own");
  EXPECT_EQ((*records)[1].preference().source(), inputs[0] + ":5");
}

TEST_F(ImportTest, StrictStopsAtTheFirstBadRowAndWritesNothing) {
  const std::vector<std::string> inputs{Write("mixed.jsonl", kMixed)};
  const auto result = Import(inputs, out(), {.strict = true});
  ASSERT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(result.status()), HasSubstr(inputs[0] + ":2: bad JSON"));
  EXPECT_FALSE(FileExists(out()));
}

TEST_F(ImportTest, GzipAndArraysGiveTheSameRecords) {
  const std::string rows = "{\"text\":\"a\"}\n{\"text\":\"b\"}\n";
  const std::string zipped = folder_ + "rows.jsonl.gz";
  gzFile gzip = ::gzopen(zipped.c_str(), "wb");
  ::gzputs(gzip, rows.c_str());
  ::gzclose(gzip);
  const std::vector<std::string> inputs{
      Write("rows.jsonl", rows), zipped,
      Write("rows.json", "[{\"text\":\"a\"},\n {\"text\":\"b\"}]")};
  const auto result = Import(inputs, out(), {});
  ASSERT_TRUE(result.ok()) << result.status();
  const auto records = ReadRecords(out());
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ((*records)[i].text().text(), i % 2 == 0 ? "a" : "b");
  }
  EXPECT_EQ((*records)[5].text().id(), "rows.json:2");
}

TEST_F(ImportTest, UnreadableInputsAreErrors) {
  const std::string good = Write("good.jsonl", "{\"text\":\"a\"}\n");
  const std::string cut = Write("cut.gz", "\x1f\x8b\x08");
  for (const std::string& bad : {folder_ + "missing", folder_, cut}) {
    const auto result = Import(std::vector<std::string>{good, bad}, out(), {});
    EXPECT_FALSE(result.ok());
    EXPECT_THAT(Message(result.status()), HasSubstr(bad));
    EXPECT_FALSE(FileExists(out()));
  }
  EXPECT_FALSE(Import({}, out(), {}).ok());
  EXPECT_FALSE(Import(std::vector<std::string>{good}, good, {}).ok());
  EXPECT_EQ(*ReadFile(good), "{\"text\":\"a\"}\n");
}

TEST_F(ImportTest, TheReportSaysWhatWasTakenAndWhatNot) {
  const ImportResult result{
      .files = {{.path = "in.jsonl",
                 .rows = 1500,
                 .bytes = 3000000,
                 .taken = {{.shape = "text", .count = 1498}},
                 .dropped = {{.reason = "bad JSON",
                              .count = 2,
                              .first = {{.where = "in.jsonl:7",
                                         .detail = "odd\x1b"}}}}}},
      .out_path = "out.tfrecord",
      .rows = 1500,
      .records = 1498,
      .bytes = 3000000,
      .seconds = 0.5};
  EXPECT_EQ(RenderImportReport(result),
            "in.jsonl: 1,500 rows\n"
            "  took          1,498  text\n"
            "  dropped           2  bad JSON\n"
            "                       in.jsonl:7: odd?\n"
            "                       ...\n"
            "out.tfrecord: 1,498 records of 1,500 rows, 2 dropped; "
            "3.0 MB in 0.500 s, 2,996 records/s\n");
}

}  // namespace
}  // namespace align
