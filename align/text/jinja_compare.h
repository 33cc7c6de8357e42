#pragma once

// Internal to align/text: equality, order and printed form of Jinja values, as
// Python has them.

#include <string>

#include "align/base/status.h"
#include "align/text/jinja_value.h"

namespace align {

// kResourceExhausted: the heap's limits.
absl::StatusOr<bool> JinjaEqual(const JinjaValue& a, const JinjaValue& b,
                                JinjaHeap& heap);
// Negative, 0 or positive, as a stands to b. kInvalidArgument: the two have no
// order.
absl::StatusOr<int> JinjaOrder(const JinjaValue& a, const JinjaValue& b,
                               JinjaHeap& heap);
// Python's `item in container`.
absl::StatusOr<bool> JinjaContains(const JinjaValue& container,
                                   const JinjaValue& item, JinjaHeap& heap);

// Python's str(value); a string keeps its marks, an undefined value is empty.
absl::StatusOr<MarkedText> JinjaPrinted(const JinjaValue& value,
                                        JinjaHeap& heap);
// repr of a float: the shortest digits that read back as the same number.
std::string JinjaFloatText(double number);

// What a for loop goes through: items, keys of a dict, characters of a string;
// nothing for an undefined value. kInvalidArgument: something else.
absl::StatusOr<std::vector<JinjaValue>> JinjaItems(const JinjaValue& value,
                                                   JinjaHeap& heap);

}  // namespace align
