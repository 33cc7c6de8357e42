#pragma once

// Internal to align/text: the model of a tokenizer.json, BPE or Unigram.

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/strings/string_view.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"
#include "align/text/byte_pair_model.h"
#include "align/text/json_node.h"
#include "align/text/unigram_model.h"

namespace align {

// Immutable after Parse.
class JsonModel {
 public:
  // Room that calls of one thread reuse.
  using Scratch = BytePairModel::Scratch;
  struct Options {
    // Ids that no text may give, whatever the vocabulary says.
    absl::flat_hash_set<int32_t> forbidden;
    // Texts come as bytes; the vocabulary is in the alphabet of byte_level.h.
    bool bytes = false;
  };

  // kUnimplemented names a type or option that is not supported.
  static absl::StatusOr<JsonModel> Parse(const JsonNode& node,
                                         const Options& options);
  // Whether the model may work on bytes: a BPE without byte fallback.
  static bool CanUseBytes(const JsonNode& node);

  // By id; empty where an id has no name.
  const std::vector<std::string>& names() const { return names_; }

  // Appends the ids of one piece.
  void Append(std::string_view text, Scratch& scratch,
              std::vector<int32_t>& ids) const;

 private:
  JsonModel() = default;
  absl::Status ReadBytePairs(const JsonNode& node, const Options& options);
  absl::Status ReadUnigram(const JsonNode& node, const Options& options);
  void AppendUnigram(std::string_view text, std::vector<int32_t>& ids) const;

  std::vector<std::string> names_;
  std::optional<BytePairModel> byte_pairs_;
  std::optional<UnigramModel> unigram_;
  int32_t unknown_ = 0;                               // unigram
  std::optional<std::array<int32_t, 256>> byte_ids_;  // unigram's fallback
};

// Room for the names of ids up to `id`. kInvalidArgument when the ids are so
// sparse, for `count` names, that a small file would need much memory.
absl::Status GrowNames(std::vector<std::string>& names, int64_t id,
                       size_t count, const std::string& where);

}  // namespace align
