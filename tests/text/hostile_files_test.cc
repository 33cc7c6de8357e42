// Damaged tokenizer.json and tokenizer.model files.
#include <string>
#include <vector>

#include "align/text/huggingface_tokenizer.h"
#include "align/text/sentencepiece.h"
#include "tests/support/hostile.h"
#include "tests/support/mutate.h"
#include "tests/support/tokenizer_seeds.h"

namespace align {
namespace {

constexpr int kFiles = 2400;
constexpr int64_t kMemoryBase = 4 << 20;

// Both ways through a tokenizer that was taken.
void UseTokenizer(const Tokenizer& tokenizer) {
  const std::vector<int32_t> ids =
      tokenizer.EncodeMarkup(" the  <s>\xc3\xa9\xff 12 hello<|end|>\n");
  for (const int32_t id : ids) {
    ASSERT_GE(id, 0);
    ASSERT_LT(id, tokenizer.vocab_size());
  }
  tokenizer.DecodeMarkup(ids);
}

TEST(HostileTokenizersTest, JsonGivesAStatusOrATokenizer) {
  const std::vector<std::string> seeds = TokenizerJsonSeeds();
  for (const std::string& seed : seeds) {
    const auto tokenizer = HuggingFaceTokenizer::Parse(seed, "tokenizer.json");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  }
  hostile::Counts counts;
  for (int i = 0; i < kFiles; ++i) {
    SCOPED_TRACE(i);
    const std::string file = Mutator(Rng(1).Fork(static_cast<uint64_t>(i)))
                                 .JsonOrBytes(seeds[i % seeds.size()]);
    hostile::Check(file.size(), "tokenizer.json", kMemoryBase, counts, [&] {
      const auto tokenizer =
          HuggingFaceTokenizer::Parse(file, "tokenizer.json");
      if (tokenizer.ok()) UseTokenizer(**tokenizer);
      return tokenizer.status();
    });
  }
  EXPECT_GT(counts.taken, kFiles / 50);
  EXPECT_GT(counts.refused, kFiles / 4);
}

TEST(HostileTokenizersTest, SentencePieceGivesAStatusOrATokenizer) {
  const std::string seeds[] = {SentencePieceSeed(false),
                               SentencePieceSeed(true)};
  for (const std::string& seed : seeds) {
    const auto tokenizer =
        SentencePieceTokenizer::Parse(seed, "tokenizer.model");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  }
  hostile::Counts counts;
  for (int i = 0; i < kFiles; ++i) {
    SCOPED_TRACE(i);
    const std::string file =
        Mutator(Rng(2).Fork(static_cast<uint64_t>(i))).Proto(seeds[i % 2]);
    hostile::Check(file.size(), "tokenizer.model", kMemoryBase, counts, [&] {
      const auto tokenizer =
          SentencePieceTokenizer::Parse(file, "tokenizer.model");
      if (tokenizer.ok()) UseTokenizer(**tokenizer);
      return tokenizer.status();
    });
  }
  EXPECT_GT(counts.taken, kFiles / 50);
  EXPECT_GT(counts.refused, kFiles / 4);
}

}  // namespace
}  // namespace align
