#include "align/data/row_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

using Rows = std::vector<std::pair<std::string, int64_t>>;

// The rows of a file of `bytes` with their lines; "!" and "]" for faults.
Rows Cut(const std::string& bytes, int64_t max_row_bytes = 1000) {
  const std::string path = ::testing::TempDir() + "/align_row_reader_test_" +
                           std::to_string(::getpid());
  std::ofstream(path, std::ios::binary) << bytes;
  auto reader = RowReader::Open(path, max_row_bytes);
  EXPECT_TRUE(reader.ok()) << reader.status();
  Rows rows;
  Row row;
  while (*reader->Next(row)) {
    std::string text(row.text);
    if (row.fault == RowFault::kTooLong) text = "!";
    if (row.fault == RowFault::kUnclosedArray) text = "]";
    rows.emplace_back(text, row.line);
  }
  EXPECT_EQ(reader->bytes(), static_cast<int64_t>(bytes.size()));
  std::filesystem::remove(path);
  return rows;
}

TEST(RowReaderTest, LinesKeepTheirNumbersOverBlankOnes) {
  EXPECT_THAT(Cut("\n{1}\r\n  \n {2}\n{3}"),
              ElementsAre(Pair("{1}", 2), Pair("{2}", 4), Pair("{3}", 5)));
  EXPECT_THAT(Cut(""), ElementsAre());
  EXPECT_THAT(Cut(" \n\n "), ElementsAre());
}

TEST(RowReaderTest, AByteOrderMarkIsSkipped) {
  EXPECT_THAT(Cut("\xEF\xBB\xBF{1}\n"), ElementsAre(Pair("{1}", 1)));
}

TEST(RowReaderTest, AnArrayIsCutAtItsOwnCommas) {
  EXPECT_THAT(Cut("[\n {\"a\": [1, 2]},\n {\"b\": \"},]\\\"\"}\n, 3]\n"),
              ElementsAre(Pair("{\"a\": [1, 2]}", 2),
                          Pair("{\"b\": \"},]\\\"\"}", 3), Pair("3", 4)));
  EXPECT_THAT(Cut("[]"), ElementsAre());
}

TEST(RowReaderTest, AnArrayWithoutItsEndSaysSo) {
  EXPECT_THAT(Cut("[{1},\n{2}"),
              ElementsAre(Pair("{1}", 1), Pair("{2}", 2), Pair("]", 2)));
  EXPECT_THAT(Cut("["), ElementsAre(Pair("]", 1)));
}

TEST(RowReaderTest, TextAfterAnArrayIsARow) {
  EXPECT_THAT(Cut("[1]\nrest\n"), ElementsAre(Pair("1", 1), Pair("rest", 2)));
}

TEST(RowReaderTest, RowsOverTheLimitAreFaultsAndTheNextAreRead) {
  const std::string longer(11, 'x');
  const std::string huge(2000000, 'y');
  EXPECT_THAT(
      Cut(longer + "\nok\n" + huge + "\nfine", 10),
      ElementsAre(Pair("!", 1), Pair("ok", 2), Pair("!", 3), Pair("fine", 4)));
  EXPECT_THAT(Cut("[" + huge + ",\nok," + longer + "]", 10),
              ElementsAre(Pair("!", 1), Pair("ok", 2), Pair("!", 2)));
}

TEST(RowReaderTest, RowsAcrossReadsAreWhole) {
  // Odd lengths, so that rows straddle every read of the stream.
  std::string bytes;
  std::vector<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    expected.emplace_back(1 + 7 * (i % 97), static_cast<char>('a' + i % 26));
    bytes += expected.back() + "\n";
  }
  const Rows rows = Cut(bytes, 10000);
  ASSERT_EQ(rows.size(), expected.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i].first, expected[i]);
    ASSERT_EQ(rows[i].second, static_cast<int64_t>(i) + 1);
  }
}

TEST(RowReaderTest, ACorruptGzipStreamIsDataLoss) {
  const std::string path = ::testing::TempDir() + "/align_row_reader_gz_" +
                           std::to_string(::getpid());
  gzFile zipped = ::gzopen(path.c_str(), "wb");
  ::gzputs(zipped, "{1}\n{2}\n");
  ::gzclose(zipped);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 5);
  auto reader = RowReader::Open(path, 100);
  absl::Status status = reader.status();
  Row row;
  while (status.ok()) {
    const auto more = reader->Next(row);
    status = more.status();
    ASSERT_TRUE(!more.ok() || *more) << "the cut was not seen";
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace align
