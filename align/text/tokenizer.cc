#include "align/text/tokenizer.h"

#include <simdjson.h>

#include "align/base/files.h"
#include "align/text/byte_tokenizer.h"
#include "align/text/sentencepiece.h"

namespace align {
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr size_t kMaxJsonDepth = 64;

// "tokenizer_class" of a tokenizer_config.json; empty when it has none.
absl::StatusOr<std::string> TokenizerClass(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(const std::string json,
                         ReadFile(path, kMaxConfigBytes));
  simdjson::dom::parser parser;
  simdjson::error_code error = parser.allocate(json.size(), kMaxJsonDepth);
  simdjson::dom::element root;
  if (!error) error = parser.parse(json).get(root);
  if (error) {
    return InvalidArgument(path + ": " + simdjson::error_message(error));
  }
  std::string_view name;
  if (root["tokenizer_class"].get(name)) return std::string();
  return std::string(name);
}

}  // namespace

std::string Tokenizer::DecodeContinuation(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += DecodePiece(id);
  return text;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(
    const std::string& model_dir) {
  const std::string model = model_dir + "/tokenizer.model";
  if (FileExists(model)) {
    ALIGN_ASSIGN_OR_RETURN(auto tokenizer, SentencePieceTokenizer::Load(model));
    return std::unique_ptr<Tokenizer>(std::move(tokenizer));
  }
  const std::string config = model_dir + "/tokenizer_config.json";
  std::string name;
  if (FileExists(config)) {
    ALIGN_ASSIGN_OR_RETURN(name, TokenizerClass(config));
    if (name == "ByteTokenizer") {
      return std::unique_ptr<Tokenizer>(std::make_unique<ByteTokenizer>());
    }
  }
  return NotFound(model_dir +
                  ": no tokenizer: looked for tokenizer.model, and "
                  "for \"tokenizer_class\": \"ByteTokenizer\" in "
                  "tokenizer_config.json" +
                  (name.empty() ? "" : ", which says \"" + name + "\""));
}

}  // namespace align
