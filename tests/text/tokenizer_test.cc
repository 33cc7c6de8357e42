#include "align/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/base/rng.h"
#include "align/text/byte_tokenizer.h"
#include "align/text/sentencepiece.h"
#include "proto/sentencepiece.pb.h"
#include "tests/support/tokenizer_json.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Piece = pb::SentencePieceModel::Piece;

constexpr char kSpace[] = "\xe2\x96\x81";

void AddPiece(pb::SentencePieceModel& model, const std::string& text,
              float score, Piece::Type type = Piece::NORMAL) {
  Piece& piece = *model.add_pieces();
  piece.set_piece(text);
  piece.set_score(score);
  piece.set_type(type);
}

// unk, <s>, </s>, then: 3 a, 4 b, 5 ab, 6 space, 7 space+ab, 8 abab (unused).
pb::SentencePieceModel SmallModel() {
  pb::SentencePieceModel model;
  AddPiece(model, "<unk>", 0, Piece::UNKNOWN);
  AddPiece(model, "<s>", 0, Piece::CONTROL);
  AddPiece(model, "</s>", 0, Piece::CONTROL);
  AddPiece(model, "a", -10);
  AddPiece(model, "b", -11);
  AddPiece(model, "ab", -1);
  AddPiece(model, kSpace, -12);
  AddPiece(model, std::string(kSpace) + "ab", -2);
  AddPiece(model, "abab", -3, Piece::UNUSED);
  model.mutable_trainer_spec()->set_model_type(
      pb::SentencePieceModel::Trainer::BPE);
  model.mutable_normalizer_spec()->set_add_dummy_prefix(false);
  model.mutable_normalizer_spec()->set_remove_extra_whitespaces(false);
  return model;
}

void AddBytes(pb::SentencePieceModel& model) {
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    AddPiece(model, name, 0, Piece::BYTE);
  }
  model.mutable_trainer_spec()->set_byte_fallback(true);
}

std::unique_ptr<SentencePieceTokenizer> Build(
    const pb::SentencePieceModel& model) {
  auto tokenizer =
      SentencePieceTokenizer::Parse(model.SerializeAsString(), "test.model");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return std::move(tokenizer).value();
}

absl::Status ParseStatus(const pb::SentencePieceModel& model) {
  return SentencePieceTokenizer::Parse(model.SerializeAsString(), "test.model")
      .status();
}

TEST(SentencePieceTest, HighestScoreMergesFirst) {
  const auto tokenizer = Build(SmallModel());
  EXPECT_THAT(tokenizer->Encode(" ab"), ElementsAre(7));
  EXPECT_THAT(tokenizer->Encode("aab"), ElementsAre(3, 5));
}

TEST(SentencePieceTest, UnusedPieceIsCutAgain) {
  EXPECT_THAT(Build(SmallModel())->Encode("abab"), ElementsAre(5, 5));
}

TEST(SentencePieceTest, RunOfUnknownCharactersIsOneId) {
  EXPECT_THAT(Build(SmallModel())->Encode("axyzb"), ElementsAre(3, 0, 4));
}

TEST(SentencePieceTest, ByteFallbackRoundTripsAnyText) {
  pb::SentencePieceModel model = SmallModel();
  AddBytes(model);
  const auto tokenizer = Build(model);
  const std::string text = "ab \xe4\xbd\xa0\xf0\x9f\x98\x80\n\x01 ab";
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
}

TEST(SentencePieceTest, TextNeverForgesControlPieces) {
  pb::SentencePieceModel model = SmallModel();
  AddBytes(model);
  AddPiece(model, "<s", 5);  // would make "<s>" the best merge
  AddPiece(model, "<", -20);
  AddPiece(model, ">", -20);
  AddPiece(model, "s", -20);
  const auto tokenizer = Build(model);
  for (const int32_t id : tokenizer->Encode("<s></s><unk><0x41>")) {
    EXPECT_GT(id, 2) << tokenizer->PieceName(id);
    EXPECT_NE(tokenizer->PieceName(id), "<0x41>");
  }
}

TEST(SentencePieceTest, ContinuationKeepsItsSpaceAndGainsNone) {
  pb::SentencePieceModel model = SmallModel();
  model.mutable_normalizer_spec()->set_add_dummy_prefix(true);
  model.mutable_normalizer_spec()->set_remove_extra_whitespaces(true);
  const auto tokenizer = Build(model);
  EXPECT_THAT(tokenizer->Encode("  ab  ab "), ElementsAre(7, 7));
  EXPECT_THAT(tokenizer->EncodeContinuation("ab"), ElementsAre(5));
  EXPECT_THAT(tokenizer->EncodeContinuation(" ab"), ElementsAre(7));
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("ab ab")), "ab ab");
  EXPECT_EQ(tokenizer->DecodeContinuation(tokenizer->Encode("ab")), " ab");
}

TEST(SentencePieceTest, UserDefinedPieceStaysWhole) {
  pb::SentencePieceModel model = SmallModel();
  AddPiece(model, "<ab>", 0, Piece::USER_DEFINED);
  EXPECT_THAT(Build(model)->Encode("ab<ab>ab"), ElementsAre(5, 9, 5));
}

TEST(SentencePieceTest, MalformedUtf8IsReplaced) {
  pb::SentencePieceModel model = SmallModel();
  AddBytes(model);
  const auto tokenizer = Build(model);
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("a\xff"
                                                "b\xe2\x96")),
            "a\xef\xbf\xbd"
            "b\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(SentencePieceTest, ControlIdsComeFromTheTrainer) {
  pb::SentencePieceModel model = SmallModel();
  EXPECT_EQ(Build(model)->bos_id(), 1);
  EXPECT_EQ(Build(model)->eos_id(), 2);
  model.mutable_trainer_spec()->set_bos_id(-1);
  model.mutable_trainer_spec()->set_eos_id(1000);
  EXPECT_EQ(Build(model)->bos_id(), std::nullopt);
  EXPECT_EQ(Build(model)->eos_id(), std::nullopt);
  EXPECT_EQ(Build(model)->DecodePiece(1), "");
  EXPECT_EQ(Build(model)->PieceName(1), "<s>");
}

TEST(SentencePieceTest, ContradictionsAreRefused) {
  pb::SentencePieceModel model = SmallModel();
  AddPiece(model, "a", 0);
  EXPECT_THAT(Message(ParseStatus(model)), HasSubstr("piece 9: defined twice"));
  model = SmallModel();
  model.mutable_trainer_spec()->set_byte_fallback(true);
  EXPECT_THAT(Message(ParseStatus(model)), HasSubstr("256 byte pieces"));
  model = SmallModel();
  model.mutable_pieces(0)->set_type(Piece::NORMAL);
  EXPECT_THAT(Message(ParseStatus(model)), HasSubstr("no unknown piece"));
  model = SmallModel();
  model.mutable_pieces(3)->set_score(NAN);
  EXPECT_THAT(Message(ParseStatus(model)), HasSubstr("finite score"));
  model = SmallModel();
  AddPiece(model, "<0xZZ>", 0, Piece::BYTE);
  EXPECT_THAT(Message(ParseStatus(model)), HasSubstr("<0x00> to <0xFF>"));
  model = SmallModel();
  model.mutable_trainer_spec()->set_model_type(
      pb::SentencePieceModel::Trainer::WORD);
  EXPECT_EQ(ParseStatus(model).code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(Message(ParseStatus(model)), HasSubstr("WORD"));
}

TEST(SentencePieceTest, UnigramTakesTheBestPath) {
  pb::SentencePieceModel model = SmallModel();
  model.mutable_trainer_spec()->set_model_type(
      pb::SentencePieceModel::Trainer::UNIGRAM);
  AddPiece(model, "ba", -0.5f);
  AddPiece(model, "<x>", 0, Piece::USER_DEFINED);
  const auto tokenizer = Build(model);
  EXPECT_THAT(tokenizer->Encode(" ab"), ElementsAre(7));
  // -1 - 1 against -10 - 0.5 - 11; the unused "abab" does not count.
  EXPECT_THAT(tokenizer->Encode("abab"), ElementsAre(5, 5));
  EXPECT_THAT(tokenizer->Encode("aba"), ElementsAre(3, 9));
  EXPECT_THAT(tokenizer->Encode("axyb<x>"), ElementsAre(3, 0, 4, 10));
  for (const int32_t id : tokenizer->Encode("<s></s><unk>")) EXPECT_EQ(id, 0);
  AddBytes(model);
  EXPECT_EQ(Build(model)->Decode(Build(model)->Encode("ab \xc3\xa9")),
            "ab \xc3\xa9");
}

TEST(SentencePieceTest, UnigramIsNotQuadratic) {
  pb::SentencePieceModel model = SmallModel();
  model.mutable_trainer_spec()->set_model_type(
      pb::SentencePieceModel::Trainer::UNIGRAM);
  EXPECT_EQ(Build(model)->Encode(std::string(1 << 20, 'a')).size(), 1u << 20);
  AddPiece(model, std::string(2000, 'a'), -1);
  EXPECT_THAT(Message(ParseStatus(model)), HasSubstr("at most 1024"));
}

TEST(SentencePieceTest, HostileCharsmapIsRefusedOrHarmless) {
  pb::SentencePieceModel model = SmallModel();
  model.mutable_normalizer_spec()->set_precompiled_charsmap("\x01");
  EXPECT_THAT(Message(ParseStatus(model)), HasSubstr("precompiled_charsmap"));
  Rng rng = Rng(7).Fork("charsmap");
  for (int round = 0; round < 300; ++round) {
    std::string map("\x40\0\0\0", 4);
    for (int i = 0; i < 80; ++i) {
      map += static_cast<char>(rng.Below(round % 2 == 0 ? 256 : 8));
    }
    map += '\0';
    model.mutable_normalizer_spec()->set_precompiled_charsmap(map);
    const auto tokenizer = Build(model);
    for (const int32_t id : tokenizer->Encode("ab \x01\x02\x03 ab\xff")) {
      EXPECT_LT(id, tokenizer->vocab_size());
    }
  }
}

TEST(SentencePieceTest, TruncatedAndFlippedFilesNeverCrash) {
  pb::SentencePieceModel model = SmallModel();
  const std::string bytes = model.SerializeAsString();
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    const auto tokenizer =
        SentencePieceTokenizer::Parse(bytes.substr(0, cut), "cut.model");
    if (!tokenizer.ok()) {
      EXPECT_THAT(Message(tokenizer.status()), HasSubstr("cut.model"));
    }
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    const auto tokenizer =
        SentencePieceTokenizer::Parse(flipped, "flipped.model");
    if (!tokenizer.ok()) continue;
    for (const int32_t id : (*tokenizer)->Encode(" ab<s>x")) {
      EXPECT_LT(id, (*tokenizer)->vocab_size());
    }
  }
}

TEST(SentencePieceTest, LongTextsAreNotQuadratic) {
  const auto tokenizer = Build(SmallModel());
  std::string text;
  for (int i = 0; i < 500000; ++i) text += "ab";
  EXPECT_EQ(tokenizer->Encode(text).size(), 500000u);
}

TEST(ByteTokenizerTest, RoundTripsEveryByte) {
  std::string text;
  for (int i = 0; i < 256; ++i) text += static_cast<char>(i);
  const ByteTokenizer tokenizer;
  std::vector<int32_t> ids = tokenizer.Encode(text);
  ids.insert(ids.begin(), *tokenizer.bos_id());
  ids.push_back(*tokenizer.eos_id());
  EXPECT_EQ(tokenizer.Decode(ids), text);
  EXPECT_EQ(tokenizer.vocab_size(), 258);
  EXPECT_EQ(tokenizer.PieceName(10), "<0x0A>");
}

class LoadTokenizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/align_tokenizer_" +
           ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(dir_);
    ASSERT_TRUE(MakeDirectories(dir_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Write(const std::string& name, const std::string& bytes) {
    ASSERT_TRUE(WriteFileAtomically(dir_ + "/" + name, bytes).ok());
  }
  std::string dir_;
};

TEST_F(LoadTokenizerTest, EmptyDirectoryNamesWhatWasLookedFor) {
  const absl::Status status = LoadTokenizer(dir_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(status), HasSubstr("tokenizer.model"));
  EXPECT_THAT(Message(status), HasSubstr(dir_));
}

TEST_F(LoadTokenizerTest, ByteTokenizerOnlyWhenTheConfigSaysSo) {
  Write("tokenizer_config.json", "{\"tokenizer_class\": \"ByteTokenizer\"}");
  auto tokenizer = LoadTokenizer(dir_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 258);
  Write("tokenizer_config.json", "{\"tokenizer_class\": \"Other\"}");
  EXPECT_THAT(Message(LoadTokenizer(dir_).status()), HasSubstr("\"Other\""));
  Write("tokenizer_config.json", std::string(100000, '['));
  EXPECT_EQ(LoadTokenizer(dir_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(LoadTokenizerTest, TokenizerJsonComesFirstAndItsNamesFromBeside) {
  Write("tokenizer.model", SmallModel().SerializeAsString());
  Write("tokenizer.json", ByteLevelJson().Text());
  Write("special_tokens_map.json", R"({"eos_token": {"content": "<|end|>"}})");
  Write("tokenizer_config.json", R"({"bos_token": null})");
  auto tokenizer = LoadTokenizer(dir_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 263);
  EXPECT_EQ((*tokenizer)->eos_id(), 262);
  EXPECT_EQ((*tokenizer)->bos_id(), std::nullopt);
  Write("tokenizer_config.json", R"({"eos_token": "</s>"})");
  EXPECT_THAT(Message(LoadTokenizer(dir_).status()), HasSubstr("\"</s>\""));
}

TEST_F(LoadTokenizerTest, TokenizerModelComesBeforeTheByteTokenizer) {
  Write("tokenizer_config.json", "{\"tokenizer_class\": \"ByteTokenizer\"}");
  Write("tokenizer.model", SmallModel().SerializeAsString());
  auto tokenizer = LoadTokenizer(dir_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 9);
}

}  // namespace
}  // namespace align
