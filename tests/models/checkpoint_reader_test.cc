#include "align/models/checkpoint_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "align/models/safetensors_writer.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CheckpointReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/align_checkpoint_reader_test";
    std::filesystem::remove_all(directory_);
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void WriteShard(const std::string& file, const std::string& tensor,
                  float value) {
    const std::vector<float> values = {value};
    ASSERT_TRUE(
        WriteSafetensors(directory_ + "/" + file,
                         {{.name = tensor, .shape = {1}, .values = values}})
            .ok());
  }
  void WriteIndex(const std::string& weight_map) {
    ASSERT_TRUE(WriteFileAtomically(
                    directory_ + "/model.safetensors.index.json",
                    "{\"metadata\": {}, \"weight_map\": " + weight_map + "}")
                    .ok());
  }
  void ExpectRefused(const std::string& what) {
    const auto reader = CheckpointReader::Open(directory_);
    ASSERT_EQ(reader.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(reader.status()), HasSubstr(what));
  }
  float First(const CheckpointReader& reader, std::string_view name) {
    float value = 0;
    EXPECT_TRUE(CopyToFloat(*reader.Find(name), {&value, 1}).ok());
    return value;
  }

  std::string directory_;
};

TEST_F(CheckpointReaderTest, SingleFileIsOneMap) {
  WriteShard("model.safetensors", "x", 3);
  const auto reader = CheckpointReader::Open(directory_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_THAT(reader->Names(), ElementsAre("x"));
  EXPECT_EQ(First(*reader, "x"), 3);
}

TEST_F(CheckpointReaderTest, ShardsAreOneMapThatSurvivesAMove) {
  WriteShard("model-00001-of-00002.safetensors", "x", 1);
  WriteShard("model-00002-of-00002.safetensors", "y", 2);
  WriteIndex(R"({"y": "model-00002-of-00002.safetensors",
                 "x": "model-00001-of-00002.safetensors"})");
  auto opened = CheckpointReader::Open(directory_);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const CheckpointReader reader = std::move(*opened);
  EXPECT_THAT(reader.Names(), ElementsAre("x", "y"));
  EXPECT_EQ(First(reader, "x"), 1);
  EXPECT_EQ(First(reader, "y"), 2);
  EXPECT_EQ(reader.Find("z"), nullptr);
}

TEST_F(CheckpointReaderTest, ShardOutsideTheDirectoryIsRefused) {
  WriteShard("model-1.safetensors", "x", 1);
  for (const char* name :
       {"../model-1.safetensors", "/etc/passwd", "a/b.safetensors", "..",
        ".safetensors", "", "a\\\\b.safetensors",
        "model-1.safetensors\\u0000"}) {
    WriteIndex("{\"x\": \"" + std::string(name) + "\"}");
    ExpectRefused("not a file name");
  }
  WriteIndex("{\"x\": 1}");
  ExpectRefused("not a file name");
}

TEST_F(CheckpointReaderTest, MalformedIndexIsRefused) {
  WriteShard("a.safetensors", "x", 1);
  WriteIndex(R"({"x": "a.safetensors", "x": "a.safetensors"})");
  ExpectRefused("repeats");
  WriteIndex(R"({"x": "a.safetensors", "y": "a.safetensors"})");
  ExpectRefused("y");
  WriteIndex("[]");
  ExpectRefused("weight_map");
  WriteIndex(std::string(10'000, '['));
  ExpectRefused("JSON");
}

TEST_F(CheckpointReaderTest, MissingFilesAreNotFound) {
  EXPECT_EQ(CheckpointReader::Open(directory_).status().code(),
            absl::StatusCode::kNotFound);
  WriteIndex(R"({"x": "gone.safetensors"})");
  EXPECT_EQ(CheckpointReader::Open(directory_).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace align
