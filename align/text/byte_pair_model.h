#pragma once

// Internal to align/text: byte-pair encoding by ranked merges of ids, as
// tokenizer.json has it.

#include <absl/container/flat_hash_map.h>
#include <absl/strings/string_view.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace align {

// Merges adjacent symbols, the lowest rank first and the leftmost among equals,
// until none can merge. O(n log n) in the length of a piece. Source: Sennrich
// et al. 2016, and tokenizers 0.22's models/bpe. Immutable after construction.
class BytePairModel {
 public:
  struct Merge {
    int32_t left, right, merged;
  };
  struct Spec {
    // Each text once.
    std::vector<std::pair<std::string, int32_t>> pieces;
    std::vector<Merge> merges;  // by rank; of an equal pair the last counts
    // Symbols at the start: single bytes, or characters.
    bool symbols_are_bytes = false;
    bool ignore_merges = false;      // a text that is a piece is that piece
    bool byte_fallback = false;      // <0x00> to <0xFF> for unknown characters
    bool fuse_unknown = false;       // a run of unknown symbols is one id
    std::optional<int32_t> unknown;  // without one they give nothing
  };
  // Room that calls of one thread reuse.
  struct Scratch {
    std::vector<int32_t> symbols;
    std::vector<uint32_t> ranks;
    std::vector<int32_t> previous, next;
    std::vector<uint64_t> heap;
  };

  explicit BytePairModel(Spec spec);

  // Appends the ids of one piece of pre-tokenized text.
  void Append(std::string_view text, Scratch& scratch,
              std::vector<int32_t>& ids) const;

 private:
  struct Target {
    uint32_t rank;
    int32_t merged;
  };

  static uint64_t PairKey(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 |
           static_cast<uint32_t>(right);
  }
  // The rank of merging two neighbours; kNoRank when they do not.
  uint32_t Rank(int32_t left, int32_t right) const;
  int32_t Merged(int32_t left, int32_t right) const;
  int32_t CharacterId(std::string_view character) const;

  // The ids of `text` before any merge.
  void Split(std::string_view text, std::vector<int32_t>& symbols) const;
  void MergeSymbols(Scratch& scratch) const;
  void MergeShort(Scratch& scratch) const;
  void MergeLong(Scratch& scratch) const;

  bool symbols_are_bytes_;
  bool byte_fallback_;
  bool fuse_unknown_;
  std::optional<int32_t> unknown_;
  std::array<int32_t, 256> single_;    // by byte, or ASCII character; -1
  std::array<int32_t, 256> byte_ids_;  // of <0x00>...; -1
  absl::flat_hash_map<std::string, int32_t> characters_;  // above ASCII
  absl::flat_hash_map<uint64_t, Target> merges_;
  // Texts that become one id: pieces that their own merges make again, or all
  // pieces if merges are ignored. Most of a real text is of these.
  absl::flat_hash_map<std::string, int32_t> whole_;
};

}  // namespace align
