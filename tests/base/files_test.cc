#include "align/base/files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace align {
namespace {

std::string TempPath(const std::string& name) {
  return ::testing::TempDir() + "/align_files_test_" + name;
}

TEST(FilesTest, AtomicWriteThenReadGivesTheBytes) {
  const std::string path = TempPath("round");
  const std::string bytes("a\0b\n", 4);
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  EXPECT_EQ(*ReadFile(path), bytes);
  EXPECT_EQ(*FileContentHash(path), ContentHash(bytes));
  std::filesystem::remove(path);
}

TEST(FilesTest, AtomicFileAppearsOnlyOnCommit) {
  const std::string path = TempPath("atomic");
  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Write("one ").ok());
  ASSERT_TRUE(file->Write("two").ok());
  EXPECT_FALSE(FileExists(path));
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(*ReadFile(path), "one two");
  std::filesystem::remove(path);
}

TEST(FilesTest, AbandonedAtomicFileLeavesNothing) {
  const std::string folder = TempPath("abandoned");
  ASSERT_TRUE(MakeDirectories(folder).ok());
  {
    auto file = AtomicFile::Create(folder + "/file");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Write("part").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

TEST(FilesTest, MissingFileIsNotFoundAndNamesThePath) {
  const auto contents = ReadFile("/nonexistent/file");
  EXPECT_EQ(contents.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(Message(contents.status()).find("/nonexistent/file"),
            std::string::npos);
  EXPECT_EQ(MappedFile::Open("/nonexistent/file").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(FilesTest, DirectoryIsRefused) {
  EXPECT_EQ(ReadFile("/tmp").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(FilesTest, LargerThanTheLimitIsRefused) {
  const std::string path = TempPath("large");
  ASSERT_TRUE(WriteFileAtomically(path, "12345").ok());
  EXPECT_EQ(ReadFile(path, 4).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ReadFile(path, 5).ok());
  std::filesystem::remove(path);
}

TEST(FilesTest, MappingSeesTheWholeFile) {
  const std::string path = TempPath("mapped");
  ASSERT_TRUE(WriteFileAtomically(path, "hello").ok());
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  const MappedFile moved = std::move(*file);
  EXPECT_EQ(moved.bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>(moved.bytes()[1]), 'e');
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace align
