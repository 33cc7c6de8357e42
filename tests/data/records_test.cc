#include "align/data/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "align/data/tfrecord.h"
#include "proto/records.pb.h"

namespace align {
namespace {

using ::testing::HasSubstr;

std::string TempPath(const std::string& name) {
  return ::testing::TempDir() + "/align_records_test_" +
         std::to_string(::getpid()) + "_" + name;
}

TEST(RecordsTest, WrittenRecordsReadBack) {
  const std::string path = TempPath("round");
  std::vector<pb::Record> records(3);
  records[0].mutable_preference()->mutable_prompt()->set_text("p");
  records[0].mutable_preference()->set_chosen("c");
  records[0].mutable_preference()->set_margin(0.5);
  records[1].mutable_text()->set_text("free");
  records[2].mutable_prompt();  // an empty message is still of a kind
  ASSERT_TRUE(WriteRecords(path, records).ok());
  const auto read = ReadRecords(path);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), records.size());
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ((*read)[i].SerializeAsString(), records[i].SerializeAsString());
  }
  std::filesystem::remove(path);
}

TEST(RecordsTest, APayloadThatIsNoRecordIsNamedByNumberAndOffset) {
  const std::string path = TempPath("foreign");
  pb::Record record;
  record.mutable_text()->set_text("abcd");
  const std::string good = record.SerializeAsString();
  for (const std::string bad : {"\xff\xff\xff", ""}) {
    auto writer = TfRecordWriter::Create(path);
    ASSERT_TRUE(writer->Append(good).ok());
    ASSERT_TRUE(writer->Append(bad).ok());
    ASSERT_TRUE(writer->Close().ok());
    const auto read = ReadRecords(path);
    ASSERT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(read.status()),
                HasSubstr(path + ": record 1 at offset " +
                          std::to_string(16 + good.size())));
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace align
