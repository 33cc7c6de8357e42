// Damaged tokenizer.json and tokenizer.model files.
#include <string>
#include <vector>

#include "align/text/huggingface_tokenizer.h"
#include "align/text/sentencepiece.h"
#include "proto/sentencepiece.pb.h"
#include "tests/support/hostile.h"
#include "tests/support/mutate.h"
#include "tests/support/tokenizer_json.h"

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

// Of each kind of model, normalizer and pre-tokenizer something.
std::vector<std::string> JsonSeeds() {
  std::vector<std::string> seeds = {ByteLevelJson().Text()};
  TokenizerJson json = ByteLevelJson();
  json.normalizer = R"({"type": "Sequence", "normalizers": [
    {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"},
                      "content": " "}, {"type": "Lowercase"}]})";
  json.pre_tokenizer = R"x({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|\\p{L}+|\\s+(?!\\S)"},
     "behavior": "Isolated", "invert": false},
    {"type": "Digits", "individual_digits": true},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
     "use_regex": false}]})x";
  json.post_processor = R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [262],
                                   "tokens": ["<|end|>"]}}})";
  seeds.push_back(json.Text());
  TokenizerJson small;
  small.pre_tokenizer = R"({"type": "Metaspace", "replacement": "_",
    "prepend_scheme": "first", "split": true})";
  small.decoder = R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
    {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
  small.model =
      BpeModel({"<unk>", "_", "t", "h", "e", "th", "the", "<0x41>"},
               {"t h", "th e"}, R"(, "unk_token": "<unk>", "fuse_unk": true)");
  seeds.push_back(small.Text());
  small.model = UnigramModelJson(
      {{"<unk>", "0"}, {"_", "-1"}, {"the", "-2.5"}, {"e", "-3"}});
  seeds.push_back(small.Text());
  return seeds;
}

TEST(HostileTokenizersTest, JsonGivesAStatusOrATokenizer) {
  const std::vector<std::string> seeds = JsonSeeds();
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

std::string SentencePieceSeed(bool unigram) {
  using Model = pb::SentencePieceModel;
  Model model;
  const auto add = [&](const std::string& text, float score,
                       Model::Piece::Type type) {
    Model::Piece* piece = model.add_pieces();
    piece->set_piece(text);
    piece->set_score(score);
    piece->set_type(type);
  };
  add("<unk>", 0, Model::Piece::UNKNOWN);
  add("<s>", 0, Model::Piece::CONTROL);
  add("</s>", 0, Model::Piece::CONTROL);
  add("user", 0, Model::Piece::USER_DEFINED);
  float score = 0;
  for (const char* text : {"\xe2\x96\x81", "t", "h", "e", "he", "the", "a"}) {
    add(text, --score, Model::Piece::NORMAL);
  }
  model.mutable_trainer_spec()->set_model_type(unigram ? Model::Trainer::UNIGRAM
                                                       : Model::Trainer::BPE);
  model.mutable_normalizer_spec()->set_add_dummy_prefix(true);
  return model.SerializeAsString();
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
