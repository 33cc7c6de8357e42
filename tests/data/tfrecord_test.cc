#include "align/data/tfrecord.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "align/base/files.h"

namespace align {
namespace {

using ::testing::HasSubstr;

std::string TempPath(const std::string& name) {
  return ::testing::TempDir() + "/align_tfrecord_test_" +
         std::to_string(::getpid()) + "_" + name;
}

// Without fsync: some tests write a thousand files.
void WriteQuickly(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

const std::vector<std::string>& Payloads() {
  static const auto& payloads = *new std::vector<std::string>{
      "first", "", std::string("\0\n\xff", 3), std::string(40, 'x')};
  return payloads;
}

std::string WriteSample(const std::string& path) {
  auto writer = TfRecordWriter::Create(path);
  EXPECT_TRUE(writer.ok());
  for (const auto& payload : Payloads()) {
    EXPECT_TRUE(writer->Append(payload).ok());
  }
  EXPECT_EQ(writer->count(), static_cast<int64_t>(Payloads().size()));
  EXPECT_TRUE(writer->Close().ok());
  return *ReadFile(path);
}

// Opens the file and reads every record.
absl::StatusOr<std::vector<std::string>> ReadAll(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(const TfRecordFile file, TfRecordFile::Open(path));
  std::vector<std::string> out;
  for (int64_t i = 0; i < file.count(); ++i) {
    ALIGN_ASSIGN_OR_RETURN(const std::string_view payload, file.Read(i));
    out.emplace_back(payload);
  }
  return out;
}

TEST(Crc32cTest, EqualsThePublishedCheckValue) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720 B.4
}

TEST(TfRecordTest, FramingEqualsTensorFlowsBytes) {
  // The empty record as tf.io.TFRecordWriter writes it.
  const std::string path = TempPath("framing");
  auto writer = TfRecordWriter::Create(path);
  ASSERT_TRUE(writer->Append("").ok());
  ASSERT_TRUE(writer->Close().ok());
  const std::string expected("\0\0\0\0\0\0\0\0\x29\x03\x98\x07\xd8\xea\x82\xa2",
                             16);
  EXPECT_EQ(*ReadFile(path), expected);
  std::filesystem::remove(path);
}

TEST(TfRecordTest, WrittenRecordsReadBack) {
  const std::string path = TempPath("round");
  const std::string bytes = WriteSample(path);
  const auto records = ReadAll(path);
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ(*records, Payloads());
  const auto file = TfRecordFile::Open(path);
  EXPECT_EQ(file->offset(0), 0);
  EXPECT_EQ(file->offset(1), 16 + 5);
  EXPECT_EQ(file->Read(4).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(file->Read(-1).status().code(), absl::StatusCode::kOutOfRange);
  std::filesystem::remove(path);
}

TEST(TfRecordTest, AnEmptyFileHasNoRecords) {
  const std::string path = TempPath("empty");
  WriteQuickly(path, "");
  const auto file = TfRecordFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->count(), 0);
  std::filesystem::remove(path);
}

TEST(TfRecordTest, AbandonedWriterLeavesNoFile) {
  const std::string path = TempPath("abandoned");
  {
    auto writer = TfRecordWriter::Create(path);
    ASSERT_TRUE(writer->Append("lost").ok());
  }
  EXPECT_FALSE(FileExists(path));
}

TEST(TfRecordTest, EveryTruncationIsDataLossOrAShorterFile) {
  const std::string path = TempPath("truncated");
  const std::string bytes = WriteSample(path);
  std::vector<size_t> ends{0};
  for (const auto& payload : Payloads()) {
    ends.push_back(ends.back() + 16 + payload.size());
  }
  ASSERT_EQ(ends.back(), bytes.size());
  size_t whole = 0;  // records before the cut
  for (size_t size = 0; size < bytes.size(); ++size) {
    while (ends[whole + 1] <= size) ++whole;
    WriteQuickly(path, bytes.substr(0, size));
    const auto records = ReadAll(path);
    if (ends[whole] == size) {  // between two records nothing is missing
      ASSERT_TRUE(records.ok()) << size;
      EXPECT_EQ(records->size(), whole);
      continue;
    }
    ASSERT_EQ(records.status().code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_THAT(Message(records.status()),
                HasSubstr(path + ": at offset " + std::to_string(ends[whole])));
  }
  std::filesystem::remove(path);
}

TEST(TfRecordTest, EveryFlippedBitIsDataLossAtItsRecord) {
  const std::string path = TempPath("flipped");
  const std::string bytes = WriteSample(path);
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string broken = bytes;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ (1 << (bit % 8)));
    WriteQuickly(path, broken);
    const auto records = ReadAll(path);
    ASSERT_EQ(records.status().code(), absl::StatusCode::kDataLoss) << bit;
    size_t start = 0;
    for (const auto& payload : Payloads()) {
      if (start + 16 + payload.size() > bit / 8) break;
      start += 16 + payload.size();
    }
    EXPECT_THAT(Message(records.status()),
                HasSubstr(": at offset " + std::to_string(start) + ":"));
  }
  std::filesystem::remove(path);
}

TEST(TfRecordTest, GzipFilesAreInflatedUpToALimit) {
  const std::string path = TempPath("zipped.gz");
  const std::string bytes = WriteSample(path);
  gzFile zipped = ::gzopen(path.c_str(), "wb");
  ASSERT_EQ(
      ::gzwrite(zipped, bytes.data(), static_cast<unsigned>(bytes.size())),
      static_cast<int>(bytes.size()));
  ASSERT_EQ(::gzclose(zipped), Z_OK);
  const auto records = ReadAll(path);
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ(*records, Payloads());
  EXPECT_EQ(TfRecordFile::Open(path, 10).status().code(),
            absl::StatusCode::kResourceExhausted);
  const std::string packed = *ReadFile(path);
  for (size_t size = 3; size < packed.size(); ++size) {
    WriteQuickly(path, packed.substr(0, size));
    EXPECT_EQ(ReadAll(path).status().code(), absl::StatusCode::kDataLoss)
        << size;
  }
  std::filesystem::remove(path);
}

TEST(TfRecordTest, AMissingFileIsNamed) {
  const auto file = TfRecordFile::Open("/nonexistent/file");
  EXPECT_FALSE(file.ok());
  EXPECT_THAT(Message(file.status()), HasSubstr("/nonexistent/file"));
  EXPECT_FALSE(TfRecordWriter::Create("/nonexistent/file").ok());
}

}  // namespace
}  // namespace align
