#include "align/text/byte_pair_model.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>

#include "align/text/utf8.h"

namespace align {
namespace {

constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
// Up to here a scan for the lowest rank beats a heap.
constexpr size_t kShort = 40;

absl::string_view AbslView(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

BytePairModel::BytePairModel(Spec spec)
    : symbols_are_bytes_(spec.symbols_are_bytes),
      byte_fallback_(spec.byte_fallback),
      fuse_unknown_(spec.fuse_unknown),
      unknown_(spec.unknown) {
  single_.fill(-1);
  byte_ids_.fill(-1);
  absl::flat_hash_map<std::string, int> byte_names;
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    byte_names[name] = byte;
  }
  for (const auto& [text, id] : spec.pieces) {
    if (const auto byte = byte_names.find(text); byte != byte_names.end()) {
      byte_ids_[byte->second] = id;
    }
    if (text.size() == 1) {
      single_[static_cast<uint8_t>(text[0])] = id;
    } else if (!symbols_are_bytes_ &&
               Utf8CharacterLength(text) == text.size()) {
      characters_.emplace(text, id);
    }
  }
  merges_.reserve(spec.merges.size());
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const Merge& merge = spec.merges[rank];
    merges_[PairKey(merge.left, merge.right)] = {static_cast<uint32_t>(rank),
                                                 merge.merged};
  }
  whole_.reserve(spec.pieces.size());
  Scratch scratch;
  for (auto& [text, id] : spec.pieces) {
    if (!spec.ignore_merges) {
      Split(text, scratch.symbols);
      MergeSymbols(scratch);
      if (scratch.symbols.size() != 1 || scratch.symbols[0] != id) continue;
    }
    whole_.emplace(std::move(text), id);
  }
}

uint32_t BytePairModel::Rank(int32_t left, int32_t right) const {
  const auto found = merges_.find(PairKey(left, right));
  return found == merges_.end() ? kNoRank : found->second.rank;
}

int32_t BytePairModel::Merged(int32_t left, int32_t right) const {
  return merges_.find(PairKey(left, right))->second.merged;
}

int32_t BytePairModel::CharacterId(std::string_view character) const {
  if (character.size() == 1) return single_[static_cast<uint8_t>(character[0])];
  const auto found = characters_.find(AbslView(character));
  return found == characters_.end() ? -1 : found->second;
}

void BytePairModel::Append(std::string_view text, Scratch& scratch,
                           std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  if (const auto found = whole_.find(AbslView(text)); found != whole_.end()) {
    ids.push_back(found->second);
    return;
  }
  Split(text, scratch.symbols);
  MergeSymbols(scratch);
  ids.insert(ids.end(), scratch.symbols.begin(), scratch.symbols.end());
}

void BytePairModel::Split(std::string_view text,
                          std::vector<int32_t>& symbols) const {
  symbols.clear();
  bool after_unknown = false;
  while (!text.empty()) {
    const size_t length =
        symbols_are_bytes_ ? 1 : std::max<size_t>(1, Utf8CharacterLength(text));
    const std::string_view character = text.substr(0, length);
    text.remove_prefix(length);
    const int32_t id = CharacterId(character);
    if (id >= 0) {
      symbols.push_back(id);
      after_unknown = false;
      continue;
    }
    const auto byte_id = [this](char c) {
      return byte_ids_[static_cast<uint8_t>(c)];
    };
    if (byte_fallback_ &&
        std::all_of(character.begin(), character.end(),
                    [&](char c) { return byte_id(c) >= 0; })) {
      for (const char c : character) symbols.push_back(byte_id(c));
      after_unknown = false;
    } else if (unknown_ && !(fuse_unknown_ && after_unknown)) {
      symbols.push_back(*unknown_);
      after_unknown = true;
    }
  }
}

void BytePairModel::MergeSymbols(Scratch& scratch) const {
  if (scratch.symbols.size() < 2) return;
  if (scratch.symbols.size() <= kShort) {
    MergeShort(scratch);
  } else {
    MergeLong(scratch);
  }
}

void BytePairModel::MergeShort(Scratch& scratch) const {
  std::vector<int32_t>& symbols = scratch.symbols;
  size_t count = symbols.size();
  uint32_t ranks[kShort];  // of merging each symbol with the next
  for (size_t i = 0; i + 1 < count; ++i) {
    ranks[i] = Rank(symbols[i], symbols[i + 1]);
  }
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    symbols[best] = Merged(symbols[best], symbols[best + 1]);
    std::copy(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 2,
              symbols.begin() + static_cast<std::ptrdiff_t>(count),
              symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    std::copy(ranks + best + 1, ranks + count - 1, ranks + best);
    --count;
    if (best > 0) ranks[best - 1] = Rank(symbols[best - 1], symbols[best]);
    if (best + 1 < count) ranks[best] = Rank(symbols[best], symbols[best + 1]);
  }
  symbols.resize(count);
}

void BytePairModel::MergeLong(Scratch& scratch) const {
  std::vector<int32_t>& symbols = scratch.symbols;
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<uint32_t>& ranks = scratch.ranks;
  std::vector<int32_t>& previous = scratch.previous;
  std::vector<int32_t>& next = scratch.next;
  std::vector<uint64_t>& heap = scratch.heap;
  ranks.resize(count);
  previous.resize(count);
  next.resize(count);
  heap.clear();
  // An entry is stale when its rank is no longer the one of its position.
  const auto set_rank = [&](int32_t i) {
    ranks[i] = next[i] < 0 ? kNoRank : Rank(symbols[i], symbols[next[i]]);
    return ranks[i] != kNoRank;
  };
  const auto entry = [&](int32_t i) {
    return static_cast<uint64_t>(ranks[i]) << 32 | static_cast<uint32_t>(i);
  };
  for (int32_t i = 0; i < count; ++i) {
    previous[i] = i - 1;
    next[i] = i + 1 < count ? i + 1 : -1;
  }
  for (int32_t i = 0; i < count; ++i) {
    if (set_rank(i)) heap.push_back(entry(i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto update = [&](int32_t i) {
    if (i < 0 || !set_rank(i)) return;
    heap.push_back(entry(i));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    const auto left = static_cast<int32_t>(top & 0xFFFFFFFFu);
    if (ranks[left] == kNoRank || entry(left) != top) continue;
    const int32_t right = next[left];
    symbols[left] = Merged(symbols[left], symbols[right]);
    ranks[right] = kNoRank;
    next[left] = next[right];
    if (next[left] >= 0) previous[next[left]] = left;
    update(previous[left]);
    update(left);
  }
  size_t kept = 0;
  for (int32_t i = 0; i >= 0; i = next[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

}  // namespace align
