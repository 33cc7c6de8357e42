#include "align/text/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "align/base/files.h"
#include "proto/sentencepiece.pb.h"
#include "tests/support/tokenizer_json.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using V = GgufVocabulary;

class GgufVocabularyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/gguf_vocabulary_" + std::to_string(::getpid());
    std::filesystem::remove_all(directory_);
    ASSERT_TRUE(MakeDirectories(directory_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& name, const std::string& contents) const {
    ASSERT_TRUE(WriteFileAtomically(directory_ + "/" + name, contents).ok());
  }
  GgufVocabulary Read() const {
    auto vocabulary = ReadGgufVocabulary(directory_);
    EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
    return vocabulary.ok() ? *std::move(vocabulary) : GgufVocabulary();
  }
  void ExpectUnsupported(const std::string& part) const {
    const absl::Status status = ReadGgufVocabulary(directory_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_THAT(Message(status), HasSubstr(part));
  }

  std::string directory_;
};

TEST_F(GgufVocabularyTest, ByteLevelBpeKeepsNamesMergesAndSpecials) {
  Write("tokenizer.json", ByteLevelJson().Text());
  Write("tokenizer_config.json",
        R"({"eos_token": "<|end|>", "chat_template": "{{ x }}",
            "model_max_length": 1000000000000000019884624838656})");
  const GgufVocabulary vocabulary = Read();
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "gpt-2");
  ASSERT_EQ(vocabulary.tokens.size(), 263u);
  EXPECT_EQ(vocabulary.tokens[259], "hello");
  EXPECT_EQ(vocabulary.types[259], V::kNormal);
  EXPECT_EQ(vocabulary.types[262], V::kControl);
  EXPECT_THAT(vocabulary.merges, ElementsAre("h e", "l l", "he ll", "hell o",
                                             "\xc4\xa0 h", "\xc4\xa0 hello"));
  EXPECT_EQ(vocabulary.eos, 262);
  EXPECT_FALSE(vocabulary.bos.has_value());
  EXPECT_FALSE(vocabulary.add_bos);
  EXPECT_TRUE(vocabulary.scores.empty());
  EXPECT_EQ(vocabulary.chat_template, "{{ x }}");
}

TEST_F(GgufVocabularyTest, ItsOwnFileAndTheDefaultAmongTemplatesAreFound) {
  Write("tokenizer.json", ByteLevelJson().Text());
  Write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tools", "template": "a"},
                              {"name": "default", "template": "b"}]})");
  EXPECT_EQ(Read().chat_template, "b");
  Write("chat_template.jinja", "c");
  EXPECT_EQ(Read().chat_template, "c");
}

TEST_F(GgufVocabularyTest, BosBeforeATextIsSaid) {
  TokenizerJson json = ByteLevelJson();
  json.post_processor = R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [262],
                                   "tokens": ["<|end|>"]}}})";
  Write("tokenizer.json", json.Text());
  const GgufVocabulary vocabulary = Read();
  EXPECT_EQ(vocabulary.bos, 262);
  EXPECT_TRUE(vocabulary.add_bos);
  EXPECT_FALSE(vocabulary.add_eos);
}

TEST_F(GgufVocabularyTest, PreTokenizersThatLlamaCppDoesNotHaveAreRefused) {
  TokenizerJson json = ByteLevelJson();
  json.pre_tokenizer =
      R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true})";
  Write("tokenizer.json", json.Text());
  ExpectUnsupported("add_prefix_space");
  json.pre_tokenizer = R"({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated",
     "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})";
  Write("tokenizer.json", json.Text());
  ExpectUnsupported("pre-tokenizer is not supported; that of gpt-2");
  json = ByteLevelJson();
  json.normalizer = R"({"type": "Lowercase"})";
  Write("tokenizer.json", json.Text());
  ExpectUnsupported("Lowercase");
  json.normalizer = R"({"type": "NFC"})";
  Write("tokenizer.json", json.Text());
  EXPECT_THAT(Read().differences, ElementsAre(HasSubstr("NFC")));
}

using Proto = pb::SentencePieceModel;

Proto Sentences() {
  Proto proto;
  const auto add = [&](const char* text, float score, Proto::Piece::Type type) {
    Proto::Piece* piece = proto.add_pieces();
    piece->set_piece(text);
    piece->set_score(score);
    piece->set_type(type);
  };
  add("<unk>", 0, Proto::Piece::UNKNOWN);
  add("<s>", 0, Proto::Piece::CONTROL);
  add("</s>", 0, Proto::Piece::CONTROL);
  add("a", -1.5, Proto::Piece::NORMAL);
  add("mine", 0, Proto::Piece::USER_DEFINED);
  add("<0x41>", 0, Proto::Piece::BYTE);
  proto.mutable_trainer_spec()->set_model_type(Proto::Trainer::BPE);
  proto.mutable_normalizer_spec()->set_remove_extra_whitespaces(false);
  return proto;
}

TEST_F(GgufVocabularyTest, SentencePieceKeepsScoresAndTypes) {
  Write("tokenizer.model", Sentences().SerializeAsString());
  Write("tokenizer_config.json", R"({"add_bos_token": true})");
  GgufVocabulary vocabulary = Read();
  EXPECT_EQ(vocabulary.model, "llama");
  EXPECT_THAT(vocabulary.tokens,
              ElementsAre("<unk>", "<s>", "</s>", "a", "mine", "<0x41>"));
  EXPECT_THAT(vocabulary.scores, ElementsAre(0, 0, 0, -1.5, 0, 0));
  EXPECT_THAT(vocabulary.types,
              ElementsAre(V::kUnknown, V::kControl, V::kControl, V::kNormal,
                          V::kUserDefined, V::kByte));
  EXPECT_EQ(vocabulary.bos, 1);
  EXPECT_EQ(vocabulary.eos, 2);
  EXPECT_EQ(vocabulary.unknown, 0);
  EXPECT_TRUE(vocabulary.add_bos);
  EXPECT_TRUE(vocabulary.add_space_prefix);
  EXPECT_TRUE(vocabulary.differences.empty());
  vocabulary.PadTo(8);
  EXPECT_EQ(vocabulary.tokens[7], "[PAD7]");
  EXPECT_EQ(vocabulary.types[7], V::kUnused);
  EXPECT_EQ(vocabulary.scores.size(), 8u);
}

TEST_F(GgufVocabularyTest, SentencePieceThatLlamaCppDoesNotHaveIsRefused) {
  Proto proto = Sentences();
  proto.mutable_trainer_spec()->set_model_type(Proto::Trainer::UNIGRAM);
  Write("tokenizer.model", proto.SerializeAsString());
  ExpectUnsupported("unigram");
  proto = Sentences();
  proto.mutable_normalizer_spec()->set_remove_extra_whitespaces(true);
  Write("tokenizer.model", proto.SerializeAsString());
  EXPECT_THAT(Read().differences, ElementsAre(HasSubstr("runs of spaces")));
  std::filesystem::remove(directory_ + "/tokenizer.model");
  Write("tokenizer_config.json", R"({"tokenizer_class": "ByteTokenizer"})");
  ExpectUnsupported("a tokenizer of bytes");
}

}  // namespace
}  // namespace align
