#pragma once

// Internal to align/text: a call of a filter, test, method or function.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/text/jinja_value.h"

namespace align {

struct JinjaCall {
  std::string_view name;  // for messages
  JinjaValue self;        // what a filter, test or method works on
  std::vector<JinjaValue> arguments;
  std::vector<std::pair<std::string, JinjaValue>> named;
  JinjaHeap& heap;

  // The arguments by the names of the parameters; nullptr where one is left
  // out. kInvalidArgument: too many, twice the same, or an unknown name.
  absl::StatusOr<std::vector<const JinjaValue*>> Bind(
      std::initializer_list<std::string_view> parameters) const;

  // kInvalidArgument "NAME: WHAT".
  absl::Status Bad(std::string_view what) const;
};

// An argument that Bind gave, or what stands for one that was left out or is
// none. kInvalidArgument: of another type.
absl::StatusOr<int64_t> IntegerArgument(const JinjaCall& call,
                                        const JinjaValue* value,
                                        int64_t otherwise);
bool BoolArgument(const JinjaValue* value, bool otherwise);
// kInvalidArgument: not a string, or left out.
absl::StatusOr<const MarkedText*> TextArgument(const JinjaCall& call,
                                               const JinjaValue* value);

// object.name: an entry of a dict or namespace, or a field of a loop; undefined
// when there is none. kInvalidArgument: the object is undefined.
absl::StatusOr<JinjaValue> JinjaAttribute(const JinjaValue& object,
                                          std::string_view name,
                                          JinjaHeap& heap);
// object[key], in which negative indices count from the end.
absl::StatusOr<JinjaValue> JinjaSubscript(const JinjaValue& object,
                                          const JinjaValue& key,
                                          JinjaHeap& heap);

// call.self | name(...); is name(...); self.name(...). kUnimplemented: no such
// thing in the subset.
absl::StatusOr<JinjaValue> CallJinjaFilter(const JinjaCall& call);
absl::StatusOr<bool> CallJinjaTest(const JinjaCall& call);
absl::StatusOr<JinjaValue> CallJinjaMethod(const JinjaCall& call);
// Whether values of that type have the method in Python, in the subset or not.
bool IsJinjaMethod(JinjaValue::Type type, std::string_view name);

}  // namespace align
