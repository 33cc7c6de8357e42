#include "align/text/json_model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "align/text/byte_level.h"

namespace align {
namespace {

using Vocabulary = absl::flat_hash_map<absl::string_view, int32_t>;

absl::string_view AbslView(std::string_view text) {
  return {text.data(), text.size()};
}

// Where the names live while the document does.
absl::StatusOr<Vocabulary> ReadVocabulary(const JsonNode& node,
                                          std::vector<std::string>& names) {
  simdjson::dom::object object;
  if (node.value.get(object)) {
    return InvalidArgument(node.where + ": an object expected");
  }
  Vocabulary vocabulary;
  const size_t count = object.size();
  vocabulary.reserve(count);
  for (const auto& [name, value] : object) {
    int64_t id = 0;
    const auto at = [&node, name = name] {
      return node.where + " \"" + std::string(name.substr(0, 60)) + "\"";
    };
    if (value.get(id) || id < 0) {
      return InvalidArgument(at() + ": an id from 0 expected");
    }
    ALIGN_RETURN_IF_ERROR(GrowNames(names, id, count, at()));
    if (!names[id].empty() ||
        !vocabulary.emplace(AbslView(name), static_cast<int32_t>(id)).second) {
      return InvalidArgument(at() + ": name or id " + std::to_string(id) +
                             " defined twice");
    }
    names[id] = std::string(name);
  }
  return vocabulary;
}

// A merge's two names: "a b", or ["a", "b"].
absl::Status SplitMerge(const JsonNode& node, std::string_view* left,
                        std::string_view* right) {
  std::string_view text;
  if (!node.value.get(text)) {
    const size_t space = text.find(' ');
    if (space != std::string_view::npos &&
        text.find(' ', space + 1) == std::string_view::npos) {
      *left = text.substr(0, space);
      *right = text.substr(space + 1);
      return absl::OkStatus();
    }
  }
  simdjson::dom::array pair;
  if (!node.value.get(pair) && pair.size() == 2 && !pair.at(0).get(*left) &&
      !pair.at(1).get(*right)) {
    return absl::OkStatus();
  }
  return InvalidArgument(node.where + ": two names expected");
}

absl::StatusOr<std::vector<BytePairModel::Merge>> ReadMerges(
    const JsonNode& node, const Vocabulary& vocabulary,
    const absl::flat_hash_set<int32_t>& forbidden) {
  simdjson::dom::array list;
  if (node.value.get(list)) {
    return InvalidArgument(node.where + ": an array expected");
  }
  std::vector<BytePairModel::Merge> merges;
  size_t index = 0;
  for (const simdjson::dom::element value : list) {
    const JsonNode item{value,
                        node.where + "[" + std::to_string(index++) + "]"};
    std::string_view left, right;
    if (index == 1 && !value.get(left) && left.starts_with("#version")) {
      continue;
    }
    ALIGN_RETURN_IF_ERROR(SplitMerge(item, &left, &right));
    const std::string joined = std::string(left) + std::string(right);
    int32_t ids[3];
    const std::string_view names[3] = {left, right, joined};
    for (int i = 0; i < 3; ++i) {
      const auto found = vocabulary.find(AbslView(names[i]));
      if (found == vocabulary.end()) {
        return InvalidArgument(item.where + ": \"" +
                               std::string(names[i].substr(0, 60)) +
                               "\" is not in the vocabulary");
      }
      ids[i] = found->second;
    }
    if (forbidden.contains(ids[2])) continue;
    merges.push_back({ids[0], ids[1], ids[2]});
  }
  return merges;
}

absl::Status CheckAbsent(const JsonNode& node, std::string_view key) {
  const auto member = FindMember(node, key);
  if (!member) return absl::OkStatus();
  std::string_view text;
  double number = 0;
  if (!member->value.get(text) && text.empty()) return absl::OkStatus();
  if (!member->value.get(number) && number == 0) return absl::OkStatus();
  return Unimplemented(member->where + ": this option is not supported");
}

}  // namespace

absl::Status GrowNames(std::vector<std::string>& names, int64_t id,
                       size_t count, const std::string& where) {
  const int64_t limit = 64 * static_cast<int64_t>(count) + 4096;
  if (id >= limit) {
    return InvalidArgument(where + ": id " + std::to_string(id) + " among " +
                           std::to_string(count) + " names; below " +
                           std::to_string(limit) + " expected");
  }
  if (static_cast<size_t>(id) >= names.size()) names.resize(id + 1);
  return absl::OkStatus();
}

bool JsonModel::CanUseBytes(const JsonNode& node) {
  const auto fallback = BoolMember(node, "byte_fallback", false);
  return FindMember(node, "merges") && fallback.ok() && !*fallback;
}

absl::StatusOr<JsonModel> JsonModel::Parse(const JsonNode& node,
                                           const Options& options) {
  JsonModel model;
  std::string type = FindMember(node, "merges") ? "BPE" : "Unigram";
  if (FindMember(node, "type")) {  // old files have none
    ALIGN_ASSIGN_OR_RETURN(type, StringMember(node, "type"));
  }
  if (type == "BPE") {
    ALIGN_RETURN_IF_ERROR(model.ReadBytePairs(node, options));
  } else if (type == "Unigram") {
    ALIGN_RETURN_IF_ERROR(model.ReadUnigram(node, options));
  } else {
    return UnsupportedType(node, type, "BPE or Unigram");
  }
  return model;
}

absl::Status JsonModel::ReadBytePairs(const JsonNode& node,
                                      const Options& options) {
  ALIGN_RETURN_IF_ERROR(CheckMembers(
      node, {"type", "dropout", "unk_token", "continuing_subword_prefix",
             "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges",
             "vocab", "merges"}));
  for (const std::string_view key :
       {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    ALIGN_RETURN_IF_ERROR(CheckAbsent(node, key));
  }
  ALIGN_ASSIGN_OR_RETURN(const JsonNode vocab, Member(node, "vocab"));
  ALIGN_ASSIGN_OR_RETURN(const Vocabulary vocabulary,
                         ReadVocabulary(vocab, names_));
  ALIGN_ASSIGN_OR_RETURN(const JsonNode merges, Member(node, "merges"));
  BytePairModel::Spec spec;
  spec.symbols_are_bytes = options.bytes;
  ALIGN_ASSIGN_OR_RETURN(spec.merges,
                         ReadMerges(merges, vocabulary, options.forbidden));
  ALIGN_ASSIGN_OR_RETURN(spec.ignore_merges,
                         BoolMember(node, "ignore_merges", false));
  ALIGN_ASSIGN_OR_RETURN(spec.byte_fallback,
                         BoolMember(node, "byte_fallback", false));
  ALIGN_ASSIGN_OR_RETURN(spec.fuse_unknown,
                         BoolMember(node, "fuse_unk", false));
  if (FindMember(node, "unk_token")) {
    ALIGN_ASSIGN_OR_RETURN(const std::string unknown,
                           StringMember(node, "unk_token"));
    const auto found = vocabulary.find(unknown);
    if (found == vocabulary.end()) {
      return InvalidArgument(node.where + ".unk_token: \"" +
                             unknown.substr(0, 60) +
                             "\" is not in the vocabulary");
    }
    spec.unknown = found->second;
  }
  for (size_t id = 0; id < names_.size(); ++id) {
    if (names_[id].empty() ||
        options.forbidden.contains(static_cast<int32_t>(id))) {
      continue;
    }
    std::optional<std::string> text =
        options.bytes ? ByteLevelToBytes(names_[id]) : names_[id];
    if (text) {
      spec.pieces.emplace_back(*std::move(text), static_cast<int32_t>(id));
    }
  }
  byte_pairs_.emplace(std::move(spec));
  return absl::OkStatus();
}

absl::Status JsonModel::ReadUnigram(const JsonNode& node,
                                    const Options& options) {
  ALIGN_RETURN_IF_ERROR(
      CheckMembers(node, {"type", "unk_id", "vocab", "byte_fallback"}));
  ALIGN_ASSIGN_OR_RETURN(const JsonNode vocab, Member(node, "vocab"));
  simdjson::dom::array list;
  if (vocab.value.get(list)) {
    return InvalidArgument(vocab.where + ": an array expected");
  }
  std::vector<UnigramModel::Piece> pieces;
  Vocabulary vocabulary;
  double lowest = 0;
  for (const simdjson::dom::element value : list) {
    const auto id = static_cast<int32_t>(names_.size());
    const std::string where = vocab.where + "[" + std::to_string(id) + "]";
    simdjson::dom::array pair;
    std::string_view name;
    double score = 0;
    if (value.get(pair) || pair.size() != 2 || pair.at(0).get(name) ||
        pair.at(1).get(score) || !std::isfinite(score) ||
        name.size() > UnigramModel::kLongestPiece) {
      return InvalidArgument(where + ": a name of at most " +
                             std::to_string(UnigramModel::kLongestPiece) +
                             " bytes and a score expected");
    }
    if (!name.empty() && !vocabulary.emplace(AbslView(name), id).second) {
      return InvalidArgument(where + ": \"" + std::string(name.substr(0, 60)) +
                             "\" defined twice");
    }
    names_.emplace_back(name);
    lowest = id == 0 ? score : std::min(lowest, score);
    if (!name.empty() && !options.forbidden.contains(id)) {
      pieces.push_back({std::string(name), id, score});
    }
  }
  ALIGN_ASSIGN_OR_RETURN(const int64_t unknown, IntegerMember(node, "unk_id"));
  if (unknown < 0 || unknown >= static_cast<int64_t>(names_.size())) {
    return InvalidArgument(node.where + ".unk_id: " + std::to_string(unknown) +
                           "; an id of the vocabulary expected");
  }
  unknown_ = static_cast<int32_t>(unknown);
  ALIGN_ASSIGN_OR_RETURN(const bool fallback,
                         BoolMember(node, "byte_fallback", false));
  if (fallback) byte_ids_.emplace();
  for (int byte = 0; fallback && byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    const auto found = vocabulary.find(name);
    (*byte_ids_)[byte] = found == vocabulary.end() ? -1 : found->second;
  }
  unigram_.emplace(std::move(pieces), lowest, UnigramModel::Sums::kDouble);
  return absl::OkStatus();
}

void JsonModel::Append(std::string_view text, Scratch& scratch,
                       std::vector<int32_t>& ids) const {
  if (byte_pairs_) {
    byte_pairs_->Append(text, scratch, ids);
  } else {
    AppendUnigram(text, ids);
  }
}

// A run of unknown characters is one unknown id, or its bytes if each has one.
void JsonModel::AppendUnigram(std::string_view text,
                              std::vector<int32_t>& ids) const {
  const std::vector<UnigramPiece> pieces = unigram_->Segment(text);
  for (size_t i = 0; i < pieces.size();) {
    if (pieces[i].id >= 0 && pieces[i].id != unknown_) {
      ids.push_back(pieces[i++].id);
      continue;
    }
    const size_t begin = i;
    bool all_bytes = byte_ids_.has_value();
    for (; i < pieces.size() && (pieces[i].id < 0 || pieces[i].id == unknown_);
         ++i) {
      for (const char c : pieces[i].text) {
        all_bytes = all_bytes && (*byte_ids_)[static_cast<uint8_t>(c)] >= 0;
      }
    }
    if (!all_bytes) {
      ids.push_back(unknown_);
      continue;
    }
    for (size_t k = begin; k < i; ++k) {
      for (const char c : pieces[k].text) {
        ids.push_back((*byte_ids_)[static_cast<uint8_t>(c)]);
      }
    }
  }
}

}  // namespace align
