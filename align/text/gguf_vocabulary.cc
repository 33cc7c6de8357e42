#include "align/text/gguf_vocabulary.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <string_view>
#include <utility>

#include "align/base/files.h"
#include "align/text/gguf_pre_tokenizer.h"
#include "align/text/huggingface_tokenizer.h"
#include "align/text/json_node.h"
#include "align/text/sentencepiece.h"
#include "align/text/tokenizer.h"
#include "proto/sentencepiece.pb.h"

namespace align {
namespace {

constexpr int64_t kMaxTokenizerBytes = 256 << 20;
constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr size_t kMaxJsonDepth = 64;
constexpr float kAddedScore = -1000;  // as llama.cpp's converter has it

// A JSON file that may be absent.
struct OptionalJson {
  std::string text;
  simdjson::dom::parser parser;
  std::optional<JsonNode> root;

  absl::Status Read(const std::string& path, int64_t max_bytes) {
    if (!FileExists(path)) return absl::OkStatus();
    ALIGN_ASSIGN_OR_RETURN(text, ReadFile(path, max_bytes));
    ALIGN_ASSIGN_OR_RETURN(root,
                           ParseJsonNode(parser, text, path, kMaxJsonDepth));
    return absl::OkStatus();
  }
};

// A template by name: "default" among several.
std::string TemplateOf(const JsonNode& node) {
  std::string_view text;
  if (!node.value.get(text)) return std::string(text);
  simdjson::dom::array list;
  if (node.value.get(list)) return {};
  for (const simdjson::dom::element item : list) {
    std::string_view name;
    if (!item["name"].get(name) && name == "default" &&
        !item["template"].get(text)) {
      return std::string(text);
    }
  }
  return {};
}

absl::Status ReadChatTemplate(const std::string& model_dir,
                              const OptionalJson& config,
                              GgufVocabulary& vocabulary) {
  const std::string path = model_dir + "/chat_template.jinja";
  if (FileExists(path)) {
    ALIGN_ASSIGN_OR_RETURN(vocabulary.chat_template,
                           ReadFile(path, kMaxConfigBytes));
    return absl::OkStatus();
  }
  if (!config.root) return absl::OkStatus();
  if (const auto node = FindMember(*config.root, "chat_template")) {
    vocabulary.chat_template = TemplateOf(*node);
  }
  return absl::OkStatus();
}

// The added tokens of a tokenizer.json, over what the vocabulary says.
absl::Status AddTokens(const JsonNode& root, GgufVocabulary& vocabulary) {
  const auto list = FindMember(root, "added_tokens");
  if (!list) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(*list));
  for (const JsonNode& item : items) {
    ALIGN_ASSIGN_OR_RETURN(const int64_t id, IntegerMember(item, "id"));
    ALIGN_ASSIGN_OR_RETURN(const std::string content,
                           StringMember(item, "content"));
    ALIGN_ASSIGN_OR_RETURN(const bool special,
                           BoolMember(item, "special", false));
    // The tokenizer of this file has been loaded, so ids are not sparse.
    const size_t known = vocabulary.tokens.size();
    if (static_cast<size_t>(id) >= known) vocabulary.PadTo(id + 1);
    int32_t& type = vocabulary.types[id];
    if (static_cast<size_t>(id) < known && type != GgufVocabulary::kNormal &&
        type != GgufVocabulary::kUserDefined) {
      continue;  // a control, unknown or byte piece stays what it is
    }
    vocabulary.tokens[id] = content;
    type = special ? GgufVocabulary::kControl : GgufVocabulary::kUserDefined;
  }
  return absl::OkStatus();
}

absl::StatusOr<GgufVocabulary> ReadSentencePiece(const std::string& path) {
  ALIGN_RETURN_IF_ERROR(SentencePieceTokenizer::Load(path).status());
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes,
                         ReadFile(path, kMaxTokenizerBytes));
  pb::SentencePieceModel proto;
  if (!proto.ParseFromString(bytes)) {
    return InvalidArgument(path + ": not a SentencePiece model, or truncated");
  }
  const auto& trainer = proto.trainer_spec();
  const auto& normalizer = proto.normalizer_spec();
  if (trainer.model_type() != pb::SentencePieceModel::Trainer::BPE) {
    return Unimplemented(path +
                         ": GGUF: a unigram model is not supported: its "
                         "segmentation by bytes differs in llama.cpp; BPE "
                         "expected");
  }
  if (!normalizer.precompiled_charsmap().empty()) {
    return Unimplemented(path + ": GGUF: the normaliser " + normalizer.name() +
                         " is not supported; identity expected");
  }
  GgufVocabulary vocabulary{.model = "llama"};
  for (const auto& piece : proto.pieces()) {
    vocabulary.tokens.push_back(piece.piece());
    vocabulary.scores.push_back(piece.score());
    vocabulary.types.push_back(piece.type());
  }
  const auto id_of = [&](int32_t id) -> std::optional<int32_t> {
    if (id < 0 || id >= proto.pieces_size()) return std::nullopt;
    return id;
  };
  vocabulary.bos = id_of(trainer.bos_id());
  vocabulary.eos = id_of(trainer.eos_id());
  vocabulary.unknown = id_of(trainer.unk_id());
  vocabulary.padding = id_of(trainer.pad_id());
  vocabulary.add_space_prefix = normalizer.add_dummy_prefix();
  vocabulary.add_bos = vocabulary.bos.has_value();
  if (normalizer.remove_extra_whitespaces()) {
    vocabulary.differences.push_back(
        "runs of spaces are one space here and kept there");
  }
  return vocabulary;
}

// What the tokenizer puts around a text must be BOS before and EOS after it.
absl::Status ReadAround(const Tokenizer& tokenizer, const std::string& path,
                        GgufVocabulary& vocabulary) {
  constexpr int32_t kText = -1;
  const std::vector<int32_t> around = tokenizer.AddTemplate({kText});
  const auto text = std::find(around.begin(), around.end(), kText);
  const std::vector<int32_t> before(around.begin(), text);
  const std::vector<int32_t> after(text + 1, around.end());
  vocabulary.bos = tokenizer.bos_id();
  vocabulary.eos = tokenizer.eos_id();
  vocabulary.add_bos =
      vocabulary.bos && before == std::vector<int32_t>{*vocabulary.bos};
  vocabulary.add_eos =
      vocabulary.eos && after == std::vector<int32_t>{*vocabulary.eos};
  if (vocabulary.add_bos == before.empty() ||
      vocabulary.add_eos == after.empty()) {
    return Unimplemented(path +
                         ": GGUF: post_processor: BOS before a text and EOS "
                         "after it expected, or neither");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> MergesOf(const JsonNode& model) {
  ALIGN_ASSIGN_OR_RETURN(const JsonNode list, Member(model, "merges"));
  ALIGN_ASSIGN_OR_RETURN(const auto items, Elements(list));
  std::vector<std::string> merges;
  for (const JsonNode& item : items) {
    std::string_view text, left, right;
    if (!item.value.get(text)) {
      if (!text.starts_with("#version")) merges.emplace_back(text);
      continue;
    }
    simdjson::dom::array pair;
    if (item.value.get(pair) || pair.at(0).get(left) || pair.at(1).get(right)) {
      return InvalidArgument(item.where + ": two names expected");
    }
    merges.push_back(std::string(left) + " " + std::string(right));
  }
  return merges;
}

absl::StatusOr<GgufVocabulary> ReadBytePairs(const std::string& model_dir,
                                             const JsonNode& root) {
  ALIGN_ASSIGN_OR_RETURN(const auto tokenizer,
                         HuggingFaceTokenizer::Load(model_dir));
  GgufVocabulary vocabulary{.model = "gpt2"};
  ALIGN_ASSIGN_OR_RETURN(vocabulary.pre, GgufPreTokenizer(root));
  for (int32_t id = 0; id < tokenizer->vocab_size(); ++id) {
    vocabulary.tokens.push_back(tokenizer->PieceName(id));
    vocabulary.types.push_back(GgufVocabulary::kNormal);
    if (vocabulary.tokens.back().empty()) {
      vocabulary.tokens.back() = "[PAD" + std::to_string(id) + "]";
      vocabulary.types.back() = GgufVocabulary::kUnused;
    }
  }
  ALIGN_RETURN_IF_ERROR(ReadAround(*tokenizer, root.where, vocabulary));
  ALIGN_ASSIGN_OR_RETURN(const JsonNode model, Member(root, "model"));
  ALIGN_ASSIGN_OR_RETURN(vocabulary.merges, MergesOf(model));
  if (FindMember(root, "normalizer")) {
    vocabulary.differences.push_back(
        "texts are brought into NFC here and taken as they are there");
  }
  return vocabulary;
}

}  // namespace

void GgufVocabulary::PadTo(int64_t size) {
  while (static_cast<int64_t>(tokens.size()) < size) {
    tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
    types.push_back(kUnused);
    if (!scores.empty()) scores.push_back(kAddedScore);
  }
}

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(
    const std::string& model_dir) {
  OptionalJson json, config;
  ALIGN_RETURN_IF_ERROR(
      json.Read(model_dir + "/tokenizer.json", kMaxTokenizerBytes));
  ALIGN_RETURN_IF_ERROR(
      config.Read(model_dir + "/tokenizer_config.json", kMaxConfigBytes));
  const std::string model = model_dir + "/tokenizer.model";
  GgufVocabulary vocabulary;
  if (FileExists(model)) {
    ALIGN_ASSIGN_OR_RETURN(vocabulary, ReadSentencePiece(model));
    if (config.root) {
      ALIGN_ASSIGN_OR_RETURN(
          vocabulary.add_bos,
          BoolMember(*config.root, "add_bos_token", vocabulary.add_bos));
      ALIGN_ASSIGN_OR_RETURN(
          vocabulary.add_eos,
          BoolMember(*config.root, "add_eos_token", vocabulary.add_eos));
    }
    if (json.root) {
      ALIGN_RETURN_IF_ERROR(LoadTokenizer(model_dir).status());
    }
  } else if (json.root) {
    ALIGN_ASSIGN_OR_RETURN(vocabulary, ReadBytePairs(model_dir, *json.root));
  } else {
    ALIGN_RETURN_IF_ERROR(LoadTokenizer(model_dir).status());
    return Unimplemented(model_dir +
                         ": GGUF: a tokenizer of bytes is not supported; "
                         "tokenizer.model or tokenizer.json expected");
  }
  if (json.root) ALIGN_RETURN_IF_ERROR(AddTokens(*json.root, vocabulary));
  ALIGN_RETURN_IF_ERROR(ReadChatTemplate(model_dir, config, vocabulary));
  return vocabulary;
}

}  // namespace align
