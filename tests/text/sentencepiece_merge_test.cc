#include "align/text/sentencepiece_merge.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "align/base/rng.h"

namespace align {
namespace {

// U+2581 is written as _.
std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text)
    out += c == '_' ? "\xe2\x96\x81" : std::string(1, c);
  return out;
}

MergeTable Table(const std::vector<std::string>& pieces) {
  MergeTable table;
  for (const std::string& piece : pieces) {
    table.ids.emplace(Escaped(piece),
                      static_cast<int32_t>(table.scores.size()));
    table.scores.push_back(-static_cast<float>(table.scores.size()));
    table.unused.push_back(false);
  }
  return table;
}

std::string Random(Rng& rng, const std::string& letters, uint64_t size) {
  std::string text;
  for (uint64_t i = 0; i < size; ++i)
    text += letters[rng.Below(letters.size())];
  return text;
}

TEST(MergePieces, WordByWordIsTheWholeText) {
  const auto normalizer = SentencePieceNormalizer::Make({});
  ASSERT_TRUE(normalizer.ok());
  Rng rng(5);
  for (int trial = 0; trial < 200; ++trial) {
    // Single letters, and random pieces: starts first, then letters.
    std::vector<std::string> pieces = {"_", "a", "b"};
    for (int i = 0; i < 20; ++i) {
      pieces.push_back(std::string(rng.Below(3), '_') +
                       Random(rng, "ab", 1 + rng.Below(4)));
    }
    pieces.push_back("__");
    MergeTable table = Table(pieces);
    ASSERT_TRUE(MergesWithinWords(table));
    // What has no piece, c, stays a character of its own.
    const std::string text = Escaped(Random(rng, "aabb__c", rng.Below(60)));
    const std::vector<MergedPiece> whole =
        MergePieces(text, table, *normalizer);
    table.within_words = true;
    const std::vector<MergedPiece> words =
        MergePieces(text, table, *normalizer);
    ASSERT_EQ(words.size(), whole.size()) << text;
    for (size_t i = 0; i < words.size(); ++i) {
      EXPECT_EQ(words[i].id, whole[i].id);
      EXPECT_EQ(words[i].text.data(), whole[i].text.data());
      EXPECT_EQ(words[i].text.size(), whole[i].text.size());
    }
  }
}

TEST(MergePieces, APieceOverTwoWordsForbidsCutting) {
  EXPECT_TRUE(MergesWithinWords(Table({"_", "__", "_a", "a"})));
  EXPECT_FALSE(MergesWithinWords(Table({"_", "a", "a_"})));
  EXPECT_FALSE(MergesWithinWords(Table({"_", "a", "_a_a"})));
  MergeTable unused = Table({"_", "a"});
  unused.unused[1] = true;
  EXPECT_FALSE(MergesWithinWords(unused));
}

}  // namespace
}  // namespace align
