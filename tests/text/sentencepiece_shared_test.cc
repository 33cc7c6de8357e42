// Parity with SentencePiece itself: recorded ids, and the spm_encode program
// where it is installed.
#include <google/protobuf/io/gzip_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "align/base/files.h"
#include "align/text/sentencepiece.h"
#include "align/text/tokenizer.h"

namespace align {
namespace {

const std::string kShared = ALIGN_SHARED_DIR;

std::string ReadGzip(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "rb");
  EXPECT_NE(file, nullptr) << path;
  if (file == nullptr) return {};
  google::protobuf::io::FileInputStream raw(::fileno(file));
  google::protobuf::io::GzipInputStream gzip(&raw);
  std::string bytes;
  const void* data = nullptr;
  int size = 0;
  while (gzip.Next(&data, &size)) {
    bytes.append(static_cast<const char*>(data), size);
  }
  std::fclose(file);
  return bytes;
}

std::vector<int32_t> Ids(simdjson::dom::array array) {
  std::vector<int32_t> ids;
  for (const int64_t id : array) ids.push_back(static_cast<int32_t>(id));
  return ids;
}

std::unique_ptr<Tokenizer> Stories() {
  auto tokenizer = LoadTokenizer(kShared + "/models/stories260k");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return std::move(tokenizer).value();
}

TEST(SentencePieceSharedTest, Llama2MatchesTheRecordedIds) {
  const auto tokenizer = SentencePieceTokenizer::Parse(
      ReadGzip(kShared + "/oracle/tok/files/llama2.tokenizer.model.gz"),
      "llama2");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  simdjson::dom::parser parser;
  simdjson::dom::element root =
      parser.load(kShared + "/oracle/tok/llama2_sentencepiece.json");
  int count = 0;
  for (simdjson::dom::element item : root["items"].get_array()) {
    const std::string_view text = item["text"];
    const std::vector<int32_t> ids = Ids(item["ids"]);
    EXPECT_EQ((*tokenizer)->Encode(text), ids) << "text " << text;
    std::string_view decoded;
    if (item["decoded"].get(decoded)) decoded = text;
    EXPECT_EQ((*tokenizer)->Decode(ids), decoded);
    ++count;
  }
  EXPECT_EQ(count, 350);
}

TEST(SentencePieceSharedTest, StoriesMatchTheReferenceIds) {
  const auto tokenizer = Stories();
  simdjson::dom::parser parser;
  simdjson::dom::element root =
      parser.load(kShared + "/models/stories260k/reference_logits.json");
  for (simdjson::dom::element item : root.get_array()) {
    const std::string_view text = item["text"];
    std::vector<int32_t> ids = {tokenizer->bos_id().value()};
    for (const int32_t id : tokenizer->Encode(text)) ids.push_back(id);
    EXPECT_EQ(ids, Ids(item["ids"])) << text;
  }
}

// The ids that spm_encode prints for each line of `lines`.
std::vector<std::vector<int32_t>> SpmEncode(
    const std::string& model, const std::vector<std::string>& lines) {
  const std::string base =
      ::testing::TempDir() + "/align_spm_" + std::to_string(::getpid());
  std::string input;
  for (const std::string& line : lines) input += line + "\n";
  EXPECT_TRUE(WriteFileAtomically(base + ".in", input).ok());
  const std::string command = "spm_encode --model='" + model +
                              "' --output_format=id < " + base + ".in > " +
                              base + ".out 2> /dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0);
  std::ifstream output(base + ".out");
  std::vector<std::vector<int32_t>> all;
  for (std::string line; std::getline(output, line);) {
    std::istringstream fields(line);
    all.emplace_back();
    for (int32_t id; fields >> id;) all.back().push_back(id);
  }
  std::filesystem::remove(base + ".in");
  std::filesystem::remove(base + ".out");
  return all;
}

bool HasProgram(const std::string& name) {
  return std::system(("command -v " + name + " > /dev/null").c_str()) == 0;
}

// Lines of real stories, and lines with odd characters in them.
std::vector<std::string> Lines() {
  std::vector<std::string> lines;
  simdjson::dom::parser parser;
  const std::string path =
      kShared + "/data/tinystories/tinystories_split.jsonl";
  for (simdjson::dom::element row : parser.load_many(path)) {
    std::istringstream text{std::string(std::string_view(row["text"]))};
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    if (lines.size() > 1500) break;
  }
  for (const char* odd :
       {"", " ", "  two  spaces ", "\xef\xbc\xa1\xef\xbc\xa2 wide",
        "\xef\xac\x81ne ligature", "e\xcc\x81 combining", "tab\tbetween",
        "\xe3\x80\x80ideographic space", "\xe2\x85\xa3 roman", "<s> </s> <unk>",
        "\xf0\x9f\x98\x80 face", "\xe2\x80\x8bzero width", "\xc2\xa0nbsp"}) {
    lines.emplace_back(odd);
  }
  return lines;
}

void ExpectParity(const std::string& model) {
  const auto tokenizer = SentencePieceTokenizer::Load(model);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::vector<std::string> lines = Lines();
  const auto expected = SpmEncode(model, lines);
  ASSERT_EQ(expected.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ((*tokenizer)->Encode(lines[i]), expected[i]) << lines[i];
  }
}

TEST(SentencePieceSharedTest, StoriesMatchSpmEncode) {
  if (!HasProgram("spm_encode")) GTEST_SKIP() << "spm_encode not installed";
  ExpectParity(kShared + "/models/stories260k/tokenizer.model");
}

// A model trained on the lines with further `flags` gives spm_encode's ids.
void ExpectParityOfTrained(const std::string& flags) {
  SCOPED_TRACE(flags);
  const std::string base =
      ::testing::TempDir() + "/align_spm_trained_" + std::to_string(::getpid());
  std::string corpus;
  for (const std::string& line : Lines()) corpus += line + "\n";
  ASSERT_TRUE(WriteFileAtomically(base + ".txt", corpus).ok());
  const std::string command = "spm_train --vocab_size=600 --input=" + base +
                              ".txt --model_prefix=" + base + " " + flags +
                              " > /dev/null 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0);
  ExpectParity(base + ".model");
  for (const char* end : {".txt", ".model", ".vocab"}) {
    std::filesystem::remove(base + end);
  }
}

TEST(SentencePieceSharedTest, TrainedModelsMatchSpmEncode) {
  if (!HasProgram("spm_train")) GTEST_SKIP() << "spm_train not installed";
  ExpectParityOfTrained(
      "--model_type=bpe --character_coverage=0.999 "
      "--user_defined_symbols='<sep>'");
  ExpectParityOfTrained(
      "--model_type=unigram --character_coverage=0.98 "
      "--user_defined_symbols='<sep>,the'");
  ExpectParityOfTrained(
      "--model_type=unigram --byte_fallback=true "
      "--normalization_rule_name=nmt_nfkc_cf");
}

}  // namespace
}  // namespace align
