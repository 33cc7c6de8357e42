#pragma once

// Internal to align/text: which of many strings a text starts with.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace align {

// A set of byte strings with a number each. Immutable.
class ByteTrie {
 public:
  struct Match {
    size_t length = 0;  // bytes; 0: none
    int32_t value = -1;
  };

  ByteTrie() : ByteTrie(std::vector<std::pair<std::string, int32_t>>()) {}
  // Keys are not empty; of equal keys the first counts. Values are not
  // negative.
  explicit ByteTrie(std::vector<std::pair<std::string, int32_t>> entries);

  bool empty() const { return values_.size() == 1; }

  // The longest key that `text` starts with.
  Match LongestPrefix(std::string_view text) const {
    Match longest;
    ForEachPrefix(text, [&longest](size_t length, int32_t value) {
      longest = {length, value};
    });
    return longest;
  }

  // found(length, value) for each key that `text` starts with, shortest first.
  template <typename Found>
  void ForEachPrefix(std::string_view text, const Found& found) const {
    if (text.empty()) return;
    uint32_t node = roots_[static_cast<uint8_t>(text[0])];
    for (size_t i = 1; node != 0; ++i) {
      if (values_[node] >= 0) found(i, values_[node]);
      if (i == text.size()) return;
      node = Child(node, static_cast<uint8_t>(text[i]));
    }
  }

 private:
  // 0, which is the root and nobody's child: none.
  uint32_t Child(uint32_t node, uint8_t label) const;

  // Nodes in breadth-first order: the children of node n are those from
  // children_[n] up to children_[n + 1].
  std::vector<uint32_t> children_;
  std::vector<uint8_t> labels_;
  std::vector<int32_t> values_;
  std::array<uint32_t, 256> roots_{};
};

}  // namespace align
