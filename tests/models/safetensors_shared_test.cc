#include <gtest/gtest.h>

#include <filesystem>

#include "align/models/checkpoint_reader.h"
#include "align/models/safetensors_writer.h"

namespace align {
namespace {

// Reading a file of others and writing it again must keep every bit.
void ExpectRewriteKeepsTheTensors(const std::string& directory,
                                  size_t tensor_count) {
  const auto reader = CheckpointReader::Open(directory);
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_EQ(reader->Names().size(), tensor_count);
  std::vector<std::vector<float>> values;
  std::vector<TensorToWrite> tensors;
  for (const std::string& name : reader->Names()) {
    const TensorInfo& info = *reader->Find(name);
    auto& copy = values.emplace_back(info.ElementCount());
    ASSERT_TRUE(CopyToFloat(info, copy).ok());
    tensors.push_back({.name = name, .shape = info.shape, .values = copy});
  }
  const std::string path = ::testing::TempDir() + "/align_rewritten";
  ASSERT_TRUE(WriteSafetensors(path, tensors).ok());
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  for (const TensorInfo& info : file->tensors()) {
    const TensorInfo& source = *reader->Find(info.name);
    EXPECT_EQ(info.shape, source.shape);
    EXPECT_TRUE(std::equal(info.bytes.begin(), info.bytes.end(),
                           source.bytes.begin(), source.bytes.end()))
        << info.name;
  }
  std::filesystem::remove(path);
}

TEST(SafetensorsSharedTest, PretrainedModelSurvivesARewrite) {
  ExpectRewriteKeepsTheTensors(ALIGN_SHARED_DIR "/models/stories260k", 47);
}

TEST(SafetensorsSharedTest, OracleModelSurvivesARewrite) {
  ExpectRewriteKeepsTheTensors(ALIGN_SHARED_DIR "/oracle/models/llama", 21);
}

}  // namespace
}  // namespace align
