#include "align/report/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "align/base/files.h"
#include "tests/support/read_events.h"

namespace align {
namespace {

using ::testing::EndsWith;

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
