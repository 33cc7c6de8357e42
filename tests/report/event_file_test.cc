#include "align/report/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "align/base/files.h"
#include "proto/event.pb.h"

namespace align {
namespace {

using ::testing::EndsWith;

// CRC-32C bit by bit (RFC 3720, appendix B.4), masked as TFRecord does.
uint32_t MaskedCrc(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) {
      crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

template <typename T>
T Number(std::string_view bytes, size_t offset) {
  T value{};
  EXPECT_LE(offset + sizeof value, bytes.size());
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Every record, its framing checked.
std::vector<pb::ScalarEvent> ReadEvents(const std::string& path) {
  const std::string bytes = *ReadFile(path);
  std::vector<pb::ScalarEvent> events;
  for (size_t at = 0; at < bytes.size();) {
    const auto length = Number<uint64_t>(bytes, at);
    EXPECT_EQ(Number<uint32_t>(bytes, at + 8),
              MaskedCrc(std::string_view(bytes).substr(at, 8)));
    const std::string payload = bytes.substr(at + 12, length);
    EXPECT_EQ(Number<uint32_t>(bytes, at + 12 + length), MaskedCrc(payload));
    EXPECT_TRUE(events.emplace_back().ParseFromString(payload));
    at += length + 16;
  }
  return events;
}

class EventFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/align_event_file_test" +
                 std::to_string(::getpid());
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_F(EventFileTest, FirstRecordNamesTheVersionThenScalarsFollow) {
  auto file = EventFile::Create(
      directory_, {.wall_time = 1700000000.5, .host = "box", .process_id = 7});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->path(),
              EndsWith("/events.out.tfevents.1700000000.box.7.0"));
  ASSERT_TRUE(
      file->AddScalars(3, 1700000001, {{"loss", 0.5}, {"kl", NAN}}).ok());
  const auto events = ReadEvents(file->path());  // before the file is closed
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[0].wall_time(), 1700000000.5);
  EXPECT_EQ(events[1].step(), 3);
  ASSERT_EQ(events[1].summary().value_size(), 2);
  EXPECT_EQ(events[1].summary().value(0).tag(), "loss");
  EXPECT_EQ(events[1].summary().value(0).simple_value(), 0.5f);
  EXPECT_TRUE(std::isnan(events[1].summary().value(1).simple_value()));
}

TEST_F(EventFileTest, TagThatIsNotUtf8IsRefusedAndNotWritten) {
  auto file = EventFile::Create(directory_, {});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->AddScalars(1, 1, {{"\xFF", 1}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadEvents(file->path()).size(), 1u);
}

TEST_F(EventFileTest, ExistingFileHostileHostAndTimeAreRefused) {
  ASSERT_TRUE(EventFile::Create(directory_, {}).ok());
  EXPECT_EQ(EventFile::Create(directory_, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EventFile::Create(directory_, {.wall_time = NAN}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(EventFile::Create(directory_, {.host = "../x"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align
