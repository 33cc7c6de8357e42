#include "align/text/huggingface_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "align/base/rng.h"
#include "align/text/stream_decoder.h"
#include "align/text/utf8.h"
#include "tests/support/tokenizer_json.h"

namespace align {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Ids = std::vector<int32_t>;

std::unique_ptr<HuggingFaceTokenizer> Build(const TokenizerJson& json) {
  auto tokenizer = HuggingFaceTokenizer::Parse(json.Text(), "tokenizer.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return std::move(tokenizer).value();
}

absl::Status Refusal(const TokenizerJson& json) {
  return HuggingFaceTokenizer::Parse(json.Text(), "tokenizer.json").status();
}

// The names of the pieces of `text`.
std::vector<std::string> Pieces(const Tokenizer& tokenizer,
                                const std::string& text) {
  std::vector<std::string> names;
  for (const int32_t id : tokenizer.Encode(text)) {
    names.push_back(tokenizer.PieceName(id));
  }
  return names;
}

TEST(HuggingFaceTokenizerTest, LowestRankMergesFirst) {
  const auto tokenizer = Build(ByteLevelJson());
  EXPECT_EQ(tokenizer->Encode("hello"), (Ids{259}));
  // " h" ranks behind "hello", so a space joins the whole word.
  EXPECT_EQ(tokenizer->Encode(" hello hell"), (Ids{261, 32, 258}));
  EXPECT_THAT(tokenizer->Encode(""), IsEmpty());
}

TEST(HuggingFaceTokenizerTest, ByteLevelRoundTripsAnyText) {
  const auto tokenizer = Build(ByteLevelJson());
  for (const std::string& text :
       {std::string("\0\x01 hello\n\n \t", 11), std::string("\xe4\xbd\xa0!"),
        std::string("  caf\xc3\xa9 \xf0\x9f\x98\x80 "),
        std::string("'s I'll")}) {
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text)), text);
  }
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("a\xff")), "a\xef\xbf\xbd");
}

TEST(HuggingFaceTokenizerTest, SpecialTokensComeFromMarkupAlone) {
  const auto tokenizer = Build(ByteLevelJson());
  EXPECT_EQ(tokenizer->EncodeMarkup("hello<|end|>hello"), (Ids{259, 262, 259}));
  for (const int32_t id : tokenizer->Encode("hello<|end|>hello")) {
    EXPECT_NE(id, 262);
  }
  EXPECT_EQ(tokenizer->Decode(Ids{259, 262}), "hello");
  EXPECT_EQ(tokenizer->DecodeMarkup(Ids{259, 262}), "hello<|end|>");
  EXPECT_EQ(tokenizer->DecodePiece(262), "");
  EXPECT_EQ(tokenizer->PieceName(262), "<|end|>");
}

// A vocabulary whose own merges make the special token.
TEST(HuggingFaceTokenizerTest, NoMergeForgesASpecialToken) {
  for (const char* more : {"", ", \"ignore_merges\": true"}) {
    TokenizerJson json;
    json.model = BpeModel({"<", "s", ">", "<s", "<s>"}, {"< s", "<s >"}, more);
    json.added_tokens =
        R"([{"id": 4, "content": "<s>", "special": true, "normalized": false}])";
    const auto tokenizer = Build(json);
    EXPECT_EQ(tokenizer->Encode("<s>"), (Ids{3, 2}));
    EXPECT_EQ(tokenizer->EncodeMarkup("<s>"), (Ids{4}));
  }
}

TEST(HuggingFaceTokenizerTest, IgnoreMergesTakesAPieceWhole) {
  TokenizerJson json;
  json.model = BpeModel({"a", "b", "ab", "aab"}, {"a b"});
  EXPECT_EQ(Build(json)->Encode("aab"), (Ids{0, 2}));
  json.model =
      BpeModel({"a", "b", "ab", "aab"}, {"a b"}, ", \"ignore_merges\": true");
  EXPECT_EQ(Build(json)->Encode("aab"), (Ids{3}));
  EXPECT_EQ(Build(json)->Encode("aabb"), (Ids{0, 2, 1}));
}

TEST(HuggingFaceTokenizerTest, MergesMayBePairs) {
  TokenizerJson json;
  json.model = R"({"type": "BPE", "vocab": {"a": 0, " ": 1, "a ": 2},
                   "merges": [["a", " "]]})";
  EXPECT_EQ(Build(json)->Encode("a a"), (Ids{2, 0}));
}

TEST(HuggingFaceTokenizerTest, UnknownCharactersAreDroppedFusedOrBytes) {
  TokenizerJson json;
  json.model = BpeModel({"?", "a"}, {});
  EXPECT_EQ(Build(json)->Encode("axxa"), (Ids{1, 1}));
  json.model = BpeModel({"?", "a"}, {}, R"(, "unk_token": "?")");
  EXPECT_EQ(Build(json)->Encode("axxa"), (Ids{1, 0, 0, 1}));
  json.model =
      BpeModel({"?", "a"}, {}, R"(, "unk_token": "?", "fuse_unk": true)");
  EXPECT_EQ(Build(json)->Encode("axxa"), (Ids{1, 0, 1}));
  json.model = BpeModel({"?", "<0xC3>", "<0xA9>"}, {},
                        R"(, "unk_token": "?", "byte_fallback": true)");
  EXPECT_EQ(Build(json)->Encode("\xc3\xa9\xc3\xa8"), (Ids{1, 2, 0}));
}

// Llama-2: a space is a mark of its own, and one stands before the text.
TokenizerJson MarkedJson() {
  TokenizerJson json;
  const std::string mark = "\xe2\x96\x81";
  json.normalizer = R"({"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]})";
  json.decoder = R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
    {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
  json.model = BpeModel(
      {"<unk>", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", mark, "a", mark + "a"},
      {mark + " a"}, R"(, "unk_token": "<unk>", "byte_fallback": true)");
  return json;
}

TEST(HuggingFaceTokenizerTest, PrependedMarkIsTakenAwayAgain) {
  const auto tokenizer = Build(MarkedJson());
  EXPECT_EQ(tokenizer->Encode("a a"), (Ids{7, 7}));
  EXPECT_EQ(tokenizer->EncodeContinuation("a a"), (Ids{6, 7}));
  EXPECT_EQ(tokenizer->Decode(Ids{7, 7}), "a a");
  EXPECT_EQ(tokenizer->DecodeContinuation(Ids{7, 7}), " a a");
  EXPECT_EQ(tokenizer->Decode(Ids{5, 7}), " a");
}

TEST(HuggingFaceTokenizerTest, StreamNeverSplitsACharacter) {
  const auto tokenizer = Build(MarkedJson());
  StreamDecoder stream(*tokenizer, StreamDecoder::Start::kText);
  EXPECT_EQ(stream.Push(7), "a");
  EXPECT_EQ(stream.Push(1), "");
  EXPECT_EQ(stream.Push(2), "");
  EXPECT_EQ(stream.Push(3), "");
  EXPECT_EQ(stream.Push(4), "\xf0\x9f\x98\x80");
  // Two beginnings, the first of which can no longer end well.
  EXPECT_EQ(stream.Push(1), "");
  EXPECT_EQ(stream.Push(2), "");
  EXPECT_EQ(stream.Push(6),
            "\xef\xbf\xbd"
            "a");
  EXPECT_EQ(stream.Push(1), "");
  EXPECT_EQ(stream.Finish(), "\xef\xbf\xbd");
  EXPECT_EQ(stream.Push(7), "a");  // as new
}

TEST(HuggingFaceTokenizerTest, StreamOfAnyIdsIsTheDecodedText) {
  for (const TokenizerJson& json : {MarkedJson(), ByteLevelJson()}) {
    const auto tokenizer = Build(json);
    Rng rng = Rng(3).Fork("stream");
    for (int round = 0; round < 200; ++round) {
      StreamDecoder stream(*tokenizer, StreamDecoder::Start::kText);
      Ids ids;
      std::string text;
      for (int i = 0; i < 30; ++i) {
        ids.push_back(static_cast<int32_t>(rng.Below(tokenizer->vocab_size())));
        const std::string part = stream.Push(ids.back());
        EXPECT_TRUE(IsUtf8(part));
        text += part;
      }
      text += stream.Finish();
      EXPECT_EQ(text, ReplaceMalformedSubparts(tokenizer->Decode(ids)));
    }
  }
}

TEST(HuggingFaceTokenizerTest, UnigramTakesTheBestPath) {
  TokenizerJson json;
  json.model = UnigramModelJson({{"<unk>", "0"},
                                 {"a", "-2"},
                                 {"b", "-2"},
                                 {"ab", "-3"},
                                 {"abab", "-7"},
                                 {"ba", "-1"}});
  const auto tokenizer = Build(json);
  EXPECT_EQ(tokenizer->Encode("ab"), (Ids{3}));
  EXPECT_EQ(tokenizer->Encode("abab"), (Ids{1, 5, 2}));  // -5 against -6, -7
  EXPECT_EQ(tokenizer->Encode("axyb"), (Ids{1, 0, 2}));
}

TEST(HuggingFaceTokenizerTest, PreTokenizersCut) {
  TokenizerJson json = ByteLevelJson();
  const auto cut = [&](const std::string& pre_tokenizer) {
    json.pre_tokenizer =
        R"({"type": "Sequence", "pretokenizers": [)" + pre_tokenizer + "]}";
    return Pieces(*Build(json), "hello hell");
  };
  const std::string bytes =
      R"(, {"type": "ByteLevel", "add_prefix_space": false,
            "use_regex": false})";
  const std::string split =
      R"({"type": "Split", "pattern": {"Regex": "l+"}, "invert": false,
          "behavior": ")";
  const std::string space = "\xc4\xa0";
  EXPECT_THAT(cut(split + "Isolated\"}" + bytes),
              ElementsAre("he", "ll", "o", space, "he", "ll"));
  EXPECT_THAT(cut(split + "Removed\"}" + bytes),
              ElementsAre("he", "o", space, "he"));
  EXPECT_THAT(cut(split + "MergedWithPrevious\"}" + bytes),
              ElementsAre("hell", "o", space, "hell"));
  EXPECT_THAT(cut(split + "MergedWithNext\"}" + bytes),
              ElementsAre("he", "ll", "o", space, "he", "ll"));
  EXPECT_THAT(cut(R"({"type": "WhitespaceSplit"})" + bytes),
              ElementsAre("hello", "hell"));
}

TEST(HuggingFaceTokenizerTest, AddedTokensTakeTheirSpaceAndStandAlone) {
  TokenizerJson json = ByteLevelJson();
  json.added_tokens = R"([
    {"id": 262, "content": "[L]", "lstrip": true, "normalized": false},
    {"id": 263, "content": "[R]", "rstrip": true, "normalized": false},
    {"id": 264, "content": "ell", "single_word": true, "normalized": false},
    {"id": 265, "content": "\u00c9\u00c9", "normalized": true}])";
  json.normalizer = R"({"type": "Sequence", "normalizers": [
    {"type": "NFC"}, {"type": "Lowercase"}]})";
  const auto tokenizer = Build(json);
  EXPECT_EQ(tokenizer->Encode("hello  [L]  [R]  hello"),
            (Ids{259, 262, 32, 32, 263, 259}));
  EXPECT_EQ(tokenizer->Encode("hello ell"), (Ids{259, 32, 264}));
  // Looked for after normalisation: an E and a combining acute become one.
  EXPECT_EQ(tokenizer->Encode("E\xcc\x81"
                              "E\xcc\x81"),
            (Ids{265}));
}

TEST(HuggingFaceTokenizerTest, TemplatePutsItsIdsAroundAText) {
  TokenizerJson json = ByteLevelJson();
  json.post_processor = R"({"type": "Sequence", "processors": [
    {"type": "ByteLevel"}, {"type": "TemplateProcessing",
     "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}],
     "pair": [], "special_tokens": {"<|end|>": {"id": "<|end|>",
       "ids": [262], "tokens": ["<|end|>"]}}}]})";
  const auto tokenizer = Build(json);
  EXPECT_EQ(tokenizer->AddTemplate(tokenizer->Encode("hello")),
            (Ids{262, 259}));
  EXPECT_EQ(tokenizer->bos_id(), 262);
  EXPECT_EQ(tokenizer->eos_id(), std::nullopt);
}

TEST(HuggingFaceTokenizerTest, WhatIsNotSupportedIsNamed) {
  struct Row {
    std::string TokenizerJson::*member;
    const char* value;
    const char* message;
  };
  const Row rows[] = {
      {&TokenizerJson::normalizer, R"({"type": "BertNormalizer"})",
       "normalizer: type \"BertNormalizer\" is not supported"},
      {&TokenizerJson::normalizer,
       R"({"type": "Sequence", "normalizers": [{"type": "NFC"},
           {"type": "Nmt"}]})",
       "normalizer.normalizers[1]: type \"Nmt\""},
      {&TokenizerJson::normalizer, R"({"type": "NFC", "fast": true})",
       "normalizer.fast: this option"},
      {&TokenizerJson::pre_tokenizer, R"({"type": "UnicodeScripts"})",
       "pre_tokenizer: type \"UnicodeScripts\""},
      {&TokenizerJson::pre_tokenizer,
       R"({"type": "Split", "pattern": {"Regex": "[a&&b]"},
           "behavior": "Isolated", "invert": false})",
       "pre_tokenizer.pattern: \"&&\""},
      {&TokenizerJson::pre_tokenizer,
       R"({"type": "Split", "pattern": {"Regex": "a{1,2}+"},
           "behavior": "Isolated"})",
       "{1,2}+"},
      {&TokenizerJson::decoder, R"({"type": "WordPiece"})",
       "decoder: type \"WordPiece\""},
      {&TokenizerJson::decoder, "null", "decoder"},
      {&TokenizerJson::post_processor, R"({"type": "Other"})",
       "post_processor: type \"Other\""},
      {&TokenizerJson::model, R"({"type": "WordPiece", "vocab": {}})",
       "model: type \"WordPiece\""},
      {&TokenizerJson::model,
       R"({"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1})",
       "model.dropout"},
      {&TokenizerJson::model,
       R"({"type": "BPE", "vocab": {}, "merges": [],
           "end_of_word_suffix": "</w>"})",
       "model.end_of_word_suffix"},
  };
  for (const Row& row : rows) {
    TokenizerJson json = ByteLevelJson();
    json.*row.member = row.value;
    const absl::Status status = Refusal(json);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << row.value;
    EXPECT_THAT(Message(status),
                AllOf(HasSubstr("tokenizer.json"), HasSubstr(row.message)));
  }
}

TEST(HuggingFaceTokenizerTest, ContradictionsAreRefused) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []})",
       "defined twice"},
      {R"({"type": "BPE", "vocab": {"a": -1}, "merges": []})", "an id from 0"},
      {R"({"type": "BPE", "vocab": {"a": 99999999}, "merges": []})",
       "id 99999999 among 1 names"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]})",
       "merges[0]: \"b\" is not in the vocabulary"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["aa"]})",
       "two names expected"},
      {R"({"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "?"})",
       "unk_token"},
      {R"({"type": "Unigram", "vocab": [["a", "x"]], "unk_id": 0})",
       "vocab[0]"},
      {R"({"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1})", "unk_id"},
  };
  for (const auto& [model, message] : rows) {
    TokenizerJson json;
    json.model = model;
    EXPECT_EQ(Refusal(json).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(Refusal(json)), HasSubstr(message)) << model;
  }
  TokenizerJson json = ByteLevelJson();
  json.added_tokens = R"([{"id": 7, "content": "<x>"}])";
  EXPECT_THAT(Message(Refusal(json)), HasSubstr("belongs to another token"));
  json = ByteLevelJson();
  json.pre_tokenizer = R"({"type": "Split", "pattern": {"Regex": "(a"},
                           "behavior": "Isolated"})";
  EXPECT_THAT(Message(Refusal(json)), HasSubstr("regular expression \"(a\""));
  const auto unknown = HuggingFaceTokenizer::Parse(
      ByteLevelJson().Text(), "t.json", {.bos = "<none>", .eos = ""});
  EXPECT_THAT(Message(unknown.status()), HasSubstr("\"<none>\""));
}

double SecondsToEncode(const Tokenizer& tokenizer, const std::string& text) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(text)), text);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
      .count();
}

TEST(HuggingFaceTokenizerTest, AdversarialTextsAreNotQuadratic) {
  TokenizerJson json = ByteLevelJson();
  json.normalizer = R"({"type": "NFC"})";
  const auto tokenizer = Build(json);
  std::string marks, lines;
  for (int i = 0; i < 1 << 18; ++i) {
    marks += i % 2 == 0 ? "\xcc\xa3" : "\xcc\x81";
    lines += "\n ";
  }
  // Quadratic would be minutes.
  EXPECT_LT(SecondsToEncode(*tokenizer, std::string(1 << 20, 'l')), 20);
  EXPECT_LT(SecondsToEncode(*tokenizer, std::string(1 << 20, ' ')), 20);
  EXPECT_LT(SecondsToEncode(*tokenizer, lines), 20);
  EXPECT_EQ(tokenizer->Encode(marks).size(), marks.size());
}

// A pattern that backtracks without end stops at its limit.
TEST(HuggingFaceTokenizerTest, HostilePatternDoesNotHang) {
  TokenizerJson json = ByteLevelJson();
  json.pre_tokenizer = R"({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "(?:l|l|ll)+x"},
     "behavior": "Isolated"}, )" +
                       std::string(kByteLevel) + "]}";
  EXPECT_LT(SecondsToEncode(*Build(json), std::string(2000, 'l')), 20);
}

// `bytes` with one to three bytes flipped, cut, copied or written over.
std::string Mutated(std::string bytes, Rng& rng) {
  for (uint64_t n = 1 + rng.Below(3); n > 0; --n) {
    const size_t at = rng.Below(bytes.size());
    switch (rng.Below(5)) {
      case 0:
        bytes[at] ^= static_cast<char>(1 << rng.Below(8));
        break;
      case 1:
        bytes.erase(at, 1 + rng.Below(8));
        break;
      case 2:
        bytes.insert(at, bytes.substr(rng.Below(bytes.size()), 20));
        break;
      case 3:
        if (rng.Below(20) == 0) bytes.resize(at);
        break;
      default:
        bytes[at] = "0123456789\"[]{}"[rng.Below(15)];
    }
    if (bytes.empty()) return bytes;
  }
  return bytes;
}

// Cut, flipped and spliced files: a status, or a tokenizer whose ids are its
// own and that encodes a text.
TEST(HuggingFaceTokenizerTest, MutatedFilesNeverCrash) {
  TokenizerJson added = MarkedJson();
  added.added_tokens = R"([{"id": 8, "content": "<s>", "lstrip": true,
    "special": true, "normalized": true}])";
  TokenizerJson unigram;
  unigram.pre_tokenizer = R"({"type": "Metaspace", "replacement": "\u2581",
    "prepend_scheme": "first", "split": true})";
  unigram.decoder = unigram.pre_tokenizer;
  unigram.model =
      UnigramModelJson({{"<unk>", "0"}, {"a", "-2.5"}, {"ab", "-3e0"}});
  TokenizerJson split = added;
  split.pre_tokenizer = R"json({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|[^\\s\\p{L}]+(?!a)"},
     "behavior": "MergedWithNext", "invert": true},
    {"type": "Digits", "individual_digits": true}]})json";
  Rng rng = Rng(11).Fork("mutations");
  int parsed = 0;
  for (const TokenizerJson& json : {added, unigram, split}) {
    const std::string bytes = json.Text();
    for (int round = 0; round < 1000; ++round) {
      const auto tokenizer =
          HuggingFaceTokenizer::Parse(Mutated(bytes, rng), "m.json");
      if (!tokenizer.ok()) {
        EXPECT_THAT(Message(tokenizer.status()), HasSubstr("m.json"));
        continue;
      }
      ++parsed;
      const Ids ids = (*tokenizer)->EncodeMarkup("a ab<s> 12\xc3\xa9\xff ab!");
      for (const int32_t id : ids) {
        ASSERT_LT(id, (*tokenizer)->vocab_size());
        ASSERT_GE(id, 0);
      }
      (*tokenizer)->DecodeMarkup(ids);
    }
  }
  EXPECT_GT(parsed, 0);
}

TEST(HuggingFaceTokenizerTest, DeepNestingIsRefused) {
  TokenizerJson json = ByteLevelJson();
  json.normalizer = std::string(100000, '[');
  EXPECT_EQ(Refusal(json).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align
