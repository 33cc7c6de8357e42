// tok: ids and texts of tokenizers, by the tokenizers library and
// SentencePiece.

#include <zlib.h>

#include <filesystem>
#include <memory>

#include "align/base/files.h"
#include "align/text/huggingface_tokenizer.h"
#include "align/text/sentencepiece.h"
#include "align/text/utf8.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

namespace fs = std::filesystem;

// Any file, unpacked if it is gzip.
absl::StatusOr<std::string> ReadUnpacked(const std::string& path) {
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) return NotFound(path + ": cannot be opened");
  std::string bytes;
  char buffer[1 << 16];
  int count = 0;
  while ((count = gzread(file, buffer, sizeof buffer)) > 0) {
    bytes.append(buffer, static_cast<size_t>(count));
  }
  gzclose(file);
  if (count < 0) return DataLoss(path + ": cannot be unpacked");
  return bytes;
}

// The tokenizer that the file is of: files/NAME.tokenizer.json or .model beside
// it, perhaps packed, where NAME is the file's or its first word.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadBeside(const fs::path& path) {
  const std::string stem = path.stem().string();
  const fs::path folder = path.parent_path() / "files";
  for (const std::string& name : {stem, stem.substr(0, stem.find('_'))}) {
    for (const char* end : {".tokenizer.json", ".tokenizer.json.gz",
                            ".tokenizer.model", ".tokenizer.model.gz"}) {
      const std::string file = (folder / (name + end)).string();
      if (!FileExists(file)) continue;
      ALIGN_ASSIGN_OR_RETURN(const std::string bytes, ReadUnpacked(file));
      if (std::string_view(end).starts_with(".tokenizer.json")) {
        ALIGN_ASSIGN_OR_RETURN(auto tokenizer,
                               HuggingFaceTokenizer::Parse(bytes, file));
        return std::unique_ptr<Tokenizer>(std::move(tokenizer));
      }
      ALIGN_ASSIGN_OR_RETURN(auto tokenizer,
                             SentencePieceTokenizer::Parse(bytes, file));
      return std::unique_ptr<Tokenizer>(std::move(tokenizer));
    }
  }
  return NotFound((folder / stem).string() + ".tokenizer.*: no such file");
}

std::string Shown(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += " " + std::to_string(id);
  return text;
}

void ExpectIds(const std::string& what, const std::vector<int32_t>& got,
               const std::vector<int32_t>& wanted, Case& result) {
  result.True(what + ":" + Shown(got) + " instead of" + Shown(wanted),
              got == wanted);
}

absl::Status CheckItem(const Tokenizer& tokenizer, Json item, Case& result) {
  const std::string text = Text(item["text"]);
  const std::vector<int32_t> wanted = Ints(item["ids"]);
  const std::vector<int32_t> ids = tokenizer.EncodeMarkup(text);
  ExpectIds("ids", ids, wanted, result);
  if (const auto special = Find(item, "ids_with_special")) {
    ExpectIds("ids with the template", tokenizer.AddTemplate(ids),
              Ints(*special), result);
  }
  const std::string decoded = TextOr(item, "decoded", text);
  result.True("decoded", ReplaceMalformedSubparts(
                             tokenizer.DecodeMarkup(wanted)) == decoded);
  result.True("decoded without special tokens",
              ReplaceMalformedSubparts(tokenizer.Decode(wanted)) ==
                  TextOr(item, "decoded_skip_special", decoded));
  return absl::OkStatus();
}

}  // namespace

void CheckTokenizer(const OracleFile& file, Reporter& reporter) {
  // Its vocabulary lacks bytes: what becomes of those, each engine decides for
  // itself.
  if (fs::path(file.path).filename() == "torchtune_qwen2style_2000.json") {
    return reporter.Skip(
        "tok: a defective vocabulary",
        static_cast<int64_t>(Items(file.root["items"]).size()));
  }
  const auto tokenizer = LoadBeside(file.path);
  if (absl::IsNotFound(tokenizer.status())) {
    return reporter.Skip(
        "tok: no tokenizer file beside the ids",
        static_cast<int64_t>(Items(file.root["items"]).size()));
  }
  if (!tokenizer.ok()) {
    return reporter.Fail(file.path, Message(tokenizer.status()));
  }
  for (const Json item : Items(file.root["items"])) {
    reporter.Run(
        "ids and texts", Text(item["text"]).substr(0, 60),
        [&](Case& result) { return CheckItem(**tokenizer, item, result); });
  }
}

}  // namespace align::oracle
