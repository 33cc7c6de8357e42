#include "align/text/byte_trie.h"

#include <algorithm>

namespace align {

ByteTrie::ByteTrie(std::vector<std::pair<std::string, int32_t>> entries) {
  std::stable_sort(
      entries.begin(), entries.end(),
      [](const auto& a, const auto& b) { return a.first < b.first; });
  entries.erase(std::unique(entries.begin(), entries.end(),
                            [](const auto& a, const auto& b) {
                              return a.first == b.first;
                            }),
                entries.end());
  // The entries below each node, which share its path of `depth` bytes.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};
  labels_.push_back(0);
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    const bool is_key = begin < end && entries[begin].first.size() == depth;
    values_.push_back(is_key ? entries[begin].second : -1);
    children_.push_back(static_cast<uint32_t>(ranges.size()));
    if (is_key) ++begin;
    while (begin < end) {
      const char label = entries[begin].first[depth];
      size_t next = begin + 1;
      while (next < end && entries[next].first[depth] == label) ++next;
      if (node == 0) {
        roots_[static_cast<uint8_t>(label)] =
            static_cast<uint32_t>(ranges.size());
      }
      ranges.push_back({begin, next, depth + 1});
      labels_.push_back(static_cast<uint8_t>(label));
      begin = next;
    }
  }
  children_.push_back(static_cast<uint32_t>(ranges.size()));
}

uint32_t ByteTrie::Child(uint32_t node, uint8_t label) const {
  const auto begin = labels_.begin() + children_[node];
  const auto end = labels_.begin() + children_[node + 1];
  const auto found = std::lower_bound(begin, end, label);
  if (found == end || *found != label) return 0;
  return static_cast<uint32_t>(found - labels_.begin());
}

}  // namespace align
