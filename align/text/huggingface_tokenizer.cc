#include "align/text/huggingface_tokenizer.h"

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <utility>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/text/added_tokens.h"
#include "align/text/json_decoder.h"
#include "align/text/json_model.h"
#include "align/text/json_node.h"
#include "align/text/json_normalizer.h"
#include "align/text/json_pre_tokenizer.h"
#include "align/text/json_template.h"
#include "align/text/utf8.h"

namespace align {
namespace {

constexpr int64_t kMaxTokenizerBytes = 64 << 20;
constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr size_t kMaxJsonDepth = 64;

// "bos_token": "<s>", or {"content": "<s>", ...}; empty when there is none.
absl::StatusOr<std::string> TokenName(const JsonNode& config,
                                      std::string_view key) {
  const auto member = FindMember(config, key);
  if (!member) return std::string();
  if (member->value.is_object()) return StringMember(*member, "content");
  return StringMember(config, key);
}

absl::Status ReadSpecialNames(const std::string& path,
                              HuggingFaceTokenizer::SpecialNames& names) {
  if (!FileExists(path)) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(const std::string json,
                         ReadFile(path, kMaxConfigBytes));
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const JsonNode config,
                         ParseJsonNode(parser, json, path, kMaxJsonDepth));
  for (auto [key, name] : {std::pair{"bos_token", &names.bos},
                           std::pair{"eos_token", &names.eos}}) {
    if (!name->empty()) continue;
    ALIGN_ASSIGN_OR_RETURN(*name, TokenName(config, key));
  }
  return absl::OkStatus();
}

}  // namespace

struct HuggingFaceTokenizer::Parts {
  explicit Parts(JsonModel model) : model(std::move(model)) {}

  JsonNormalizer normalizer;
  AddedTokens added;
  JsonPreTokenizer pre_tokenizer;
  JsonModel model;
  JsonDecoder decoder;
  JsonTemplate around;
  std::vector<std::string> names;   // [V]; empty where an id has none
  std::vector<std::string> pieces;  // [V] what each adds to a text
  std::vector<bool> special;        // [V]
  std::optional<int32_t> bos, eos;

  absl::Status AddNames(const std::string& where);
  absl::Status FindSpecials(const std::string& where,
                            const SpecialNames& special_names);
  // Where special tokens are found: nowhere, wherever their names stand, or
  // where these names are marked kMarkup.
  enum class Specials { kNone, kAll, kMarked };
  std::vector<int32_t> Encode(std::string_view text, TextPosition position,
                              Specials specials,
                              const MarkedText* marks = nullptr) const;
  std::string Decode(std::span<const int32_t> ids, bool specials) const;
};

// The vocabulary's names, with those of added tokens.
absl::Status HuggingFaceTokenizer::Parts::AddNames(const std::string& where) {
  names = model.names();
  const size_t count = names.size() + added.tokens().size();
  absl::flat_hash_map<std::string, int32_t> added_ids;
  for (const AddedToken& token : added.tokens()) {
    added_ids.emplace(token.content, token.id);
  }
  const auto conflict = [&](const std::string& name, int64_t id) {
    return InvalidArgument(where + " added_tokens: \"" + name.substr(0, 60) +
                           "\": id " + std::to_string(id) +
                           " or its name belongs to another token");
  };
  for (size_t id = 0; id < names.size(); ++id) {
    const auto found = added_ids.find(names[id]);
    if (found != added_ids.end() && static_cast<size_t>(found->second) != id) {
      return conflict(found->first, found->second);
    }
  }
  for (const AddedToken& token : added.tokens()) {
    ALIGN_RETURN_IF_ERROR(
        GrowNames(names, token.id, count, where + " added_tokens"));
    std::string& name = names[token.id];
    if ((!name.empty() && name != token.content) ||
        added_ids[token.content] != token.id) {
      return conflict(token.content, token.id);
    }
    name = token.content;
  }
  special.resize(names.size());
  for (const AddedToken& token : added.tokens()) {
    if (token.special) special[token.id] = true;
  }
  pieces.reserve(names.size());
  for (const std::string& name : names) {
    pieces.push_back(name.empty() ? name : decoder.Piece(name));
  }
  return absl::OkStatus();
}

absl::Status HuggingFaceTokenizer::Parts::FindSpecials(
    const std::string& where, const SpecialNames& special_names) {
  const auto find = [&](const std::string& name, const char* what,
                        std::optional<int32_t>& id) {
    if (name.empty()) return absl::OkStatus();
    for (size_t i = 0; i < names.size() && !id; ++i) {
      if (names[i] == name) id = static_cast<int32_t>(i);
    }
    if (id) return absl::OkStatus();
    return InvalidArgument(where + " no token \"" + name.substr(0, 60) +
                           "\", which is the " + what);
  };
  ALIGN_RETURN_IF_ERROR(find(special_names.bos, "bos_token", bos));
  ALIGN_RETURN_IF_ERROR(find(special_names.eos, "eos_token", eos));
  for (const std::vector<int32_t>* ids : {&around.prefix, &around.suffix}) {
    for (const int32_t id : *ids) {
      if (static_cast<size_t>(id) < names.size()) continue;
      return InvalidArgument(where + " post_processor: id " +
                             std::to_string(id) + "; below " +
                             std::to_string(names.size()) + " expected");
    }
  }
  if (special_names.bos.empty() && around.prefix.size() == 1) {
    bos = around.prefix[0];
  }
  return absl::OkStatus();
}

std::vector<int32_t> HuggingFaceTokenizer::Parts::Encode(
    std::string_view text, TextPosition position, Specials specials,
    const MarkedText* marks) const {
  std::string repaired;
  if (!IsUtf8(text)) {
    repaired = ReplaceMalformedBytes(text);
    text = repaired;
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 1);
  JsonModel::Scratch scratch;
  JsonPreTokenizer::Cutter cutter(pre_tokenizer);
  const auto append = [&](std::string_view piece) {
    model.Append(piece, scratch, ids);
  };
  // Whether a special token may stand on bytes of `text`.
  const auto allow = [&](size_t begin, size_t end) {
    return specials == Specials::kMarked ? marks->AllHave(kMarkup, begin, end)
                                         : specials == Specials::kAll;
  };
  const auto never = [](size_t, size_t) { return false; };
  std::string buffer;
  const auto position_of = [&](std::string_view part, std::string_view whole,
                               TextPosition whole_position) {
    return part.data() == whole.data() ? whole_position : TextPosition::kInside;
  };
  const auto cut_normal = [&](std::string_view normal, TextPosition at,
                              AddedTokens::Allow allow_normal) {
    if (!added.HasAny(AddedTokens::Pass::kNormalized)) {
      return cutter.Cut(normal, at, append);
    }
    added.Split(normal, AddedTokens::Pass::kNormalized, allow_normal,
                [&](std::string_view part, const AddedToken* inner) {
                  if (inner != nullptr) return ids.push_back(inner->id);
                  cutter.Cut(part, position_of(part, normal, at), append);
                });
  };
  const auto encode_raw = [&](std::string_view raw, const AddedToken* token) {
    if (token != nullptr) return ids.push_back(token->id);
    const size_t offset = static_cast<size_t>(raw.data() - text.data());
    const auto allow_here = [&](size_t begin, size_t end) {
      return allow(offset + begin, offset + end);
    };
    const TextPosition at = position_of(raw, text, position);
    const std::string_view normal = normalizer.Apply(raw, at, buffer);
    if (specials != Specials::kMarked || normal == raw) {
      return cut_normal(normal, at, allow_here);
    }
    // Normalised bytes have no marks: special tokens come first.
    added.Split(raw, AddedTokens::Pass::kContent, allow_here,
                [&](std::string_view part, const AddedToken* inner) {
                  if (inner != nullptr) return ids.push_back(inner->id);
                  const TextPosition part_at = position_of(part, raw, at);
                  cut_normal(normalizer.Apply(part, part_at, buffer), part_at,
                             never);
                });
  };
  if (added.HasAny(AddedTokens::Pass::kRaw)) {
    added.Split(text, AddedTokens::Pass::kRaw, allow, encode_raw);
  } else if (!text.empty()) {
    encode_raw(text, nullptr);
  }
  return ids;
}

std::string HuggingFaceTokenizer::Parts::Decode(std::span<const int32_t> ids,
                                                bool specials) const {
  std::string text;
  bool first = true;
  for (const int32_t id : ids) {
    ALIGN_CHECK(id >= 0 && static_cast<size_t>(id) < names.size())
        << "[HuggingFaceTokenizer] id " << id << " of " << names.size();
    if (names[id].empty() || (special[id] && !specials)) continue;
    text += first ? decoder.FirstPiece(names[id]) : pieces[id];
    first = false;
  }
  text.erase(0, decoder.StripLength(text));
  return text;
}

absl::StatusOr<std::unique_ptr<HuggingFaceTokenizer>>
HuggingFaceTokenizer::Load(const std::string& model_dir) {
  SpecialNames names;
  ALIGN_RETURN_IF_ERROR(
      ReadSpecialNames(model_dir + "/tokenizer_config.json", names));
  ALIGN_RETURN_IF_ERROR(
      ReadSpecialNames(model_dir + "/special_tokens_map.json", names));
  const std::string path = model_dir + "/tokenizer.json";
  ALIGN_ASSIGN_OR_RETURN(const std::string json,
                         ReadFile(path, kMaxTokenizerBytes));
  return Parse(json, path, names);
}

absl::StatusOr<std::unique_ptr<HuggingFaceTokenizer>>
HuggingFaceTokenizer::Parse(std::string_view json, const std::string& name,
                            const SpecialNames& special_names) {
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const JsonNode root,
                         ParseJsonNode(parser, json, name, kMaxJsonDepth));
  ALIGN_RETURN_IF_ERROR(CheckMembers(
      root, {"version", "truncation", "padding", "added_tokens", "normalizer",
             "pre_tokenizer", "post_processor", "decoder", "model"}));
  JsonNormalizer normalizer;
  if (const auto node = FindMember(root, "normalizer")) {
    ALIGN_ASSIGN_OR_RETURN(normalizer, JsonNormalizer::Parse(*node));
  }
  AddedTokens added;
  if (const auto node = FindMember(root, "added_tokens")) {
    ALIGN_ASSIGN_OR_RETURN(added, AddedTokens::Parse(*node, normalizer));
  }
  JsonPreTokenizer pre_tokenizer;
  if (const auto node = FindMember(root, "pre_tokenizer")) {
    ALIGN_ASSIGN_OR_RETURN(pre_tokenizer, JsonPreTokenizer::Parse(*node));
  }
  ALIGN_ASSIGN_OR_RETURN(const JsonNode model_node, Member(root, "model"));
  if (!JsonModel::CanUseBytes(model_node)) pre_tokenizer.UseAlphabet();
  JsonModel::Options options{.forbidden = {},
                             .bytes = pre_tokenizer.ends_in_bytes()};
  for (const AddedToken& token : added.tokens()) {
    if (token.special) options.forbidden.insert(token.id);
  }
  ALIGN_ASSIGN_OR_RETURN(JsonModel model,
                         JsonModel::Parse(model_node, options));
  auto parts = std::make_unique<Parts>(std::move(model));
  parts->normalizer = std::move(normalizer);
  parts->added = std::move(added);
  parts->pre_tokenizer = std::move(pre_tokenizer);
  const auto decoder = FindMember(root, "decoder");
  if (!decoder) {
    return Unimplemented(root.where +
                         " decoder: a tokenizer without one is not supported");
  }
  ALIGN_ASSIGN_OR_RETURN(parts->decoder, JsonDecoder::Parse(*decoder));
  if (const auto node = FindMember(root, "post_processor")) {
    ALIGN_ASSIGN_OR_RETURN(parts->around, JsonTemplate::Parse(*node));
  }
  ALIGN_RETURN_IF_ERROR(parts->AddNames(root.where));
  ALIGN_RETURN_IF_ERROR(parts->FindSpecials(root.where, special_names));
  return std::unique_ptr<HuggingFaceTokenizer>(
      new HuggingFaceTokenizer(std::move(parts)));
}

HuggingFaceTokenizer::HuggingFaceTokenizer(std::unique_ptr<Parts> parts)
    : parts_(std::move(parts)) {}

HuggingFaceTokenizer::~HuggingFaceTokenizer() = default;

std::vector<int32_t> HuggingFaceTokenizer::Encode(std::string_view text) const {
  return parts_->Encode(text, TextPosition::kStart, Parts::Specials::kNone);
}

std::vector<int32_t> HuggingFaceTokenizer::EncodeContinuation(
    std::string_view text) const {
  return parts_->Encode(text, TextPosition::kContinuation,
                        Parts::Specials::kNone);
}

std::vector<int32_t> HuggingFaceTokenizer::EncodeMarkup(
    std::string_view text) const {
  return parts_->Encode(text, TextPosition::kStart, Parts::Specials::kAll);
}

std::vector<int32_t> HuggingFaceTokenizer::EncodeMarked(const MarkedText& text,
                                                        Place place) const {
  MarkedText repaired;
  if (!IsUtf8(text.text())) {  // run by run, for the marks to stay in place
    size_t begin = 0;
    for (const MarkedText::Run& run : text.runs()) {
      repaired.Append(
          ReplaceMalformedBytes(
              std::string_view(text.text()).substr(begin, run.end - begin)),
          run.marks);
      begin = run.end;
    }
  }
  const MarkedText& sound = repaired.empty() ? text : repaired;
  return parts_->Encode(sound.text(),
                        place == Place::kStart ? TextPosition::kStart
                                               : TextPosition::kContinuation,
                        Parts::Specials::kMarked, &sound);
}

std::vector<int32_t> HuggingFaceTokenizer::AddTemplate(
    std::vector<int32_t> ids) const {
  const JsonTemplate& around = parts_->around;
  ids.insert(ids.begin(), around.prefix.begin(), around.prefix.end());
  ids.insert(ids.end(), around.suffix.begin(), around.suffix.end());
  return ids;
}

std::string HuggingFaceTokenizer::Decode(std::span<const int32_t> ids) const {
  return parts_->Decode(ids, /*specials=*/false);
}

std::string HuggingFaceTokenizer::DecodeMarkup(
    std::span<const int32_t> ids) const {
  return parts_->Decode(ids, /*specials=*/true);
}

std::string HuggingFaceTokenizer::DecodePiece(int32_t id) const {
  ALIGN_CHECK(id >= 0 && id < vocab_size())
      << "[HuggingFaceTokenizer] id " << id << " of " << vocab_size();
  return parts_->special[id] ? std::string() : parts_->pieces[id];
}

std::string HuggingFaceTokenizer::PieceName(int32_t id) const {
  ALIGN_CHECK(id >= 0 && id < vocab_size())
      << "[HuggingFaceTokenizer] id " << id << " of " << vocab_size();
  return parts_->names[id];
}

int32_t HuggingFaceTokenizer::vocab_size() const {
  return static_cast<int32_t>(parts_->names.size());
}

std::optional<int32_t> HuggingFaceTokenizer::bos_id() const {
  return parts_->bos;
}

std::optional<int32_t> HuggingFaceTokenizer::eos_id() const {
  return parts_->eos;
}

}  // namespace align
