#include "align/ops/segments.h"

#include <algorithm>

#include "align/base/check.h"

namespace align {

int32_t Segments::Append(int64_t length, int32_t prefix) {
  ALIGN_CHECK(length >= 0) << "[Segments] length " << length;
  ALIGN_CHECK(prefix >= -1 && prefix < count())
      << "[Segments] prefix " << prefix << " of " << count();
  Segment segment{.begin = rows_, .length = length, .prefix = prefix};
  if (prefix >= 0) {
    segment.position = list_[prefix].position + list_[prefix].length;
  }
  list_.push_back(segment);
  rows_ += length;
  return count() - 1;
}

std::vector<int32_t> Segments::Positions() const {
  std::vector<int32_t> positions;
  positions.reserve(rows_);
  for (const Segment& s : list_) {
    for (int64_t i = 0; i < s.length; ++i) {
      positions.push_back(static_cast<int32_t>(s.position + i));
    }
  }
  return positions;
}

std::vector<int32_t> Segments::Chain(int32_t index) const {
  std::vector<int32_t> chain;
  for (int32_t i = index; i >= 0; i = list_[i].prefix) chain.push_back(i);
  std::reverse(chain.begin(), chain.end());
  return chain;
}

std::vector<int32_t> Segments::Leaves() const {
  std::vector<uint8_t> continued(list_.size(), 0);
  for (const Segment& s : list_) {
    if (s.prefix >= 0) continued[s.prefix] = 1;
  }
  std::vector<int32_t> leaves;
  for (int32_t i = 0; i < count(); ++i) {
    if (continued[i] == 0) leaves.push_back(i);
  }
  return leaves;
}

std::vector<int32_t> Segments::Roots() const {
  std::vector<int32_t> roots(list_.size());
  for (int32_t i = 0; i < count(); ++i) {
    roots[i] = list_[i].prefix < 0 ? i : roots[list_[i].prefix];
  }
  return roots;
}

}  // namespace align
