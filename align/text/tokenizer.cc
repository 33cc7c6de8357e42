#include "align/text/tokenizer.h"

#include "align/base/files.h"
#include "align/base/json_document.h"
#include "align/text/byte_tokenizer.h"
#include "align/text/chat_template_files.h"
#include "align/text/huggingface_tokenizer.h"
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
  ALIGN_ASSIGN_OR_RETURN(const auto root,
                         ParseJsonObject(parser, json, path, kMaxJsonDepth));
  std::string_view name;
  if (root["tokenizer_class"].get(name)) return std::string();
  return std::string(name);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadBare(
    const std::string& model_dir) {
  if (FileExists(model_dir + "/tokenizer.json")) {
    ALIGN_ASSIGN_OR_RETURN(auto tokenizer,
                           HuggingFaceTokenizer::Load(model_dir));
    return std::unique_ptr<Tokenizer>(std::move(tokenizer));
  }
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
  return NotFound(
      model_dir +
      ": no tokenizer: looked for tokenizer.json, "
      "tokenizer.model, and for \"tokenizer_class\": \"ByteTokenizer\" in "
      "tokenizer_config.json" +
      (name.empty() ? "" : ", which says \"" + name + "\""));
}

}  // namespace

std::vector<int32_t> Tokenizer::EncodeMarkup(std::string_view text) const {
  return Encode(text);
}

std::vector<int32_t> Tokenizer::EncodeMarked(const MarkedText& text,
                                             Place place) const {
  const std::string& all = text.text();
  std::vector<int32_t> ids;
  size_t done = 0;
  bool at_start = place == Place::kStart;
  const auto encode = [&](size_t end) {
    if (end == done) return;
    const std::string_view part =
        std::string_view(all).substr(done, end - done);
    const std::vector<int32_t> more =
        at_start ? Encode(part) : EncodeContinuation(part);
    ids.insert(ids.end(), more.begin(), more.end());
    at_start = false;
  };
  for (size_t at = 0; at < all.size(); ++at) {
    for (const std::optional<int32_t> id : {bos_id(), eos_id()}) {
      if (!id) continue;
      const std::string name = PieceName(*id);
      if (name.empty() || all.compare(at, name.size(), name) != 0 ||
          !text.AllHave(kMarkup, at, at + name.size())) {
        continue;
      }
      encode(at);
      ids.push_back(*id);
      at_start = id == bos_id();  // a text after BOS is the first one
      done = at + name.size();
      at = done - 1;
      break;
    }
  }
  encode(all.size());
  return ids;
}

std::vector<int32_t> Tokenizer::AddTemplate(std::vector<int32_t> ids) const {
  return ids;
}

std::string Tokenizer::DecodeMarkup(std::span<const int32_t> ids) const {
  return Decode(ids);
}

std::string Tokenizer::DecodeContinuation(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += DecodePiece(id);
  return text;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(
    const std::string& model_dir) {
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer,
                         LoadBare(model_dir));
  ALIGN_ASSIGN_OR_RETURN(ChatTemplateSource chat, LoadChatTemplates(model_dir));
  tokenizer->set_chat(std::move(chat));
  return tokenizer;
}

}  // namespace align
