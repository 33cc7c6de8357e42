#include "align/data/show_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "align/text/byte_tokenizer.h"

namespace align {
namespace {

constexpr int32_t kBos = ByteTokenizer::kBos;
constexpr int32_t kEos = ByteTokenizer::kEos;

TEST(ShowBatchTest, ShowsSegmentsPositionsAndWhatIsScored) {
  PackedBatch batch;
  const int32_t prompt =
      batch.AppendPrompt(std::vector<int32_t>{kBos, 'H', 'i'});
  batch.AppendCompletion(prompt, std::vector<int32_t>{'!', kEos});
  batch.AppendCompletion(prompt, std::vector<int32_t>{'a', 'b', 'c', 'd'},
                         std::vector<uint8_t>{0, 1, 0, 1});
  EXPECT_EQ(ShowBatch(batch, ByteTokenizer()),
            "rows 9, segments 3, sequences 2, scored 4\n"
            "segment 0: prompt, positions 0-2\n"
            "  <s>Hi\n"
            "segment 1: sequence 0 on segment 0, positions 3-4, scored 2 of 2\n"
            "  ⟦!</s>⟧\n"
            "segment 2: sequence 1 on segment 0, positions 3-6, scored 2 of 4\n"
            "  a⟦b⟧c⟦d⟧\n");
}

TEST(ShowBatchTest, NotesStandBesideTheirSequences) {
  PackedBatch batch;
  const int32_t prompt = batch.AppendPrompt(std::vector<int32_t>{'p'});
  batch.AppendCompletion(prompt, std::vector<int32_t>{'a'});
  batch.AppendCompletion(prompt, std::vector<int32_t>{'b'});
  const std::vector<std::string> notes = {"good", ""};
  const std::string shown = ShowBatch(batch, ByteTokenizer(), notes);
  EXPECT_THAT(shown,
              ::testing::HasSubstr("sequence 0, good, on segment 0, pos"));
  EXPECT_THAT(shown, ::testing::HasSubstr("sequence 1 on segment 0, pos"));
}

TEST(ShowBatchTest, JoinsBytesOfACharacterAndEscapesTheRest) {
  PackedBatch batch;
  batch.AppendPrompt(
      std::vector<int32_t>{0xC3, 0xA9, '\n', '\t', '\\', 0x07, 0xC3, 'x'});
  EXPECT_EQ(ShowBatch(batch, ByteTokenizer()),
            "rows 8, segments 1, sequences 0, scored 0\n"
            "segment 0: prompt, positions 0-7\n"
            "  é\\n\\t\\\\\\x07\\xC3x\n");
}

TEST(ShowBatchTest, ShowsAnEmptyCompletion) {
  PackedBatch batch;
  batch.AppendCompletion(batch.AppendPrompt(std::vector<int32_t>{'a'}), {});
  EXPECT_EQ(
      ShowBatch(batch, ByteTokenizer()),
      "rows 1, segments 2, sequences 1, scored 0\n"
      "segment 0: prompt, positions 0-0\n"
      "  a\n"
      "segment 1: sequence 0 on segment 0, positions none, scored 0 of 0\n"
      "  \n");
}

}  // namespace
}  // namespace align
