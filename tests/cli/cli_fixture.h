#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "tests/support/process.h"
#include "tests/support/tiny_model.h"

namespace align {

// The program `align` as a process, in a directory of its own that has a tiny
// model, a tiny reward model and rows to import.
class CliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/align_cli_" + std::to_string(::getpid());
    std::filesystem::remove_all(directory_);
    ASSERT_TRUE(SaveByteModel(model()).ok());
    ASSERT_TRUE(SaveByteModel(Path("reward"), /*reward=*/true).ok());
    std::string pairs, texts;
    for (int i = 0; i < 12; ++i) {
      const std::string n = std::to_string(i);
      pairs += R"({"prompt": "say )" + n + R"(", "chosen": " good )" + n +
               R"(", "rejected": " bad"})" + "\n";
      texts += R"({"text": ")" + n + R"( is a story number"})" + "\n";
    }
    Write("pairs.jsonl", pairs);
    Write("texts.jsonl", texts);
    Write("lexicon.txt", "good\t2.0\nbad\t-2.0\n");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const {
    return directory_ + "/" + name;
  }
  std::string model() const { return Path("model"); }
  void Write(const std::string& name, const std::string& contents) const {
    ASSERT_TRUE(WriteFileAtomically(Path(name), contents).ok());
  }

  // `align` with `words`.
  ProcessResult Align(std::vector<std::string> words) const {
    words.insert(words.begin(), ALIGN_BINARY_DIR "/bin/align");
    return RunProcess(std::move(words), directory_);
  }
  // The same where it must succeed; its standard output.
  std::string Output(const std::vector<std::string>& words) const {
    const ProcessResult result = Align(words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
  // Where the input is at fault: exit code 2, nothing on standard output, one
  // line on standard error with all of `parts`.
  void ExpectRefused(const std::vector<std::string>& words,
                     const std::vector<std::string>& parts) const {
    SCOPED_TRACE(::testing::PrintToString(words));
    const ProcessResult result = Align(words);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    for (const std::string& part : parts) {
      EXPECT_THAT(result.err, ::testing::HasSubstr(part));
    }
  }
  // A record file of the rows in NAME.jsonl.
  std::string Import(const std::string& name) const {
    const std::string records = Path(name + ".tfrecord");
    Output({"import", Path(name + ".jsonl"), "--out", records});
    return records;
  }

  std::string directory_;
};

inline const std::vector<std::string> kCommands = {
    "import",  "train", "sample",     "eval",     "show", "merge",
    "compare", "bench", "show-batch", "tokenize", "list"};

}  // namespace align
