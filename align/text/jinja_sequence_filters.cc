#include "align/text/jinja_sequence_filters.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "align/text/jinja_compare.h"
#include "align/text/jinja_operators.h"
#include "align/text/jinja_text.h"

namespace align::jinja_filters {
namespace {

using Type = JinjaValue::Type;
using Values = std::vector<JinjaValue>;

absl::StatusOr<Values> ItemsOf(const JinjaCall& call) {
  auto items = JinjaItems(call.self, call.heap);
  if (!items.ok()) return Annotate(items.status(), call.name);
  return items;
}

// The value that an attribute's path "a.b.0" leads to; `path` null: `value`.
Result Follow(const JinjaCall& call, JinjaValue value, const JinjaValue* path) {
  if (path == nullptr || path->Is(Type::kNone)) return value;
  if (path->IsInteger()) return JinjaSubscript(value, *path, call.heap);
  ALIGN_ASSIGN_OR_RETURN(const MarkedText* text, TextArgument(call, path));
  for (const MarkedText& part : SplitAt(*text, ".", -1, TextEnd::kLeft)) {
    const std::string& name = part.text();
    int64_t index = 0;
    const char* const end = name.data() + name.size();
    const auto [after, error] = std::from_chars(name.data(), end, index);
    JinjaValue key = JinjaValue::StringView(part);
    if (error == std::errc() && after == end) key = JinjaValue::Integer(index);
    ALIGN_ASSIGN_OR_RETURN(value, JinjaSubscript(value, key, call.heap));
  }
  return value;
}

// What a value is compared by.
Result KeyOf(const JinjaCall& call, const JinjaValue& value,
             const JinjaValue* path, bool case_sensitive) {
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue key, Follow(call, value, path));
  if (case_sensitive || !key.Is(Type::kString)) return key;
  return call.heap.String(WithCase(*key.text, LetterCase::kLower));
}

// Sorts by keys, stably. The first error ends all comparing.
absl::Status SortByKeys(const JinjaCall& call, bool reverse,
                        std::vector<std::pair<JinjaValue, JinjaValue>>& rows) {
  absl::Status status;
  const auto less = [&](const auto& a, const auto& b) {
    if (!status.ok()) return false;
    const auto order = reverse ? JinjaOrder(b.first, a.first, call.heap)
                               : JinjaOrder(a.first, b.first, call.heap);
    if (!order.ok()) {
      status = order.status();
      return false;
    }
    return *order < 0;
  };
  // A merge sort bears with an order that is none, as NaN's.
  std::stable_sort(rows.begin(), rows.end(), less);
  return status.ok() ? status : Annotate(status, call.name);
}

JinjaValue SecondOf(
    const JinjaCall& call,
    const std::vector<std::pair<JinjaValue, JinjaValue>>& rows) {
  Values values;
  for (const auto& row : rows) values.push_back(row.second);
  return call.heap.List(std::move(values));
}

// Whether a test holds for `value`, the test's name and arguments being those
// of `call` from `first` on; without a name, whether it is true.
absl::StatusOr<bool> Holds(const JinjaCall& call, const JinjaValue& value,
                           size_t first) {
  if (call.arguments.size() <= first) return JinjaTruth(value);
  ALIGN_ASSIGN_OR_RETURN(const MarkedText* name,
                         TextArgument(call, &call.arguments[first]));
  JinjaCall test{
      .name = name->text(),
      .self = value,
      .arguments = {call.arguments.begin() + static_cast<int64_t>(first) + 1,
                    call.arguments.end()},
      .named = call.named,
      .heap = call.heap};
  return CallJinjaTest(test);
}

}  // namespace

Result First(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  if (!items.empty()) return items.front();
  return call.heap.Undefined("the first item of nothing");
}

Result Last(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  if (!items.empty()) return items.back();
  return call.heap.Undefined("the last item of nothing");
}

Result List(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  ALIGN_ASSIGN_OR_RETURN(Values items, ItemsOf(call));
  return call.heap.List(std::move(items));
}

Result Items(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  if (call.self.Is(Type::kUndefined)) return call.heap.List({});
  if (!call.self.Is(Type::kDict)) {
    return call.Bad("a dict expected, " + JinjaTypeName(call.self) + " found");
  }
  Values items;
  for (const auto& [key, value] : call.self.dict->entries) {
    items.push_back(call.heap.List({key, value}, /*tuple=*/true));
  }
  return call.heap.List(std::move(items));
}

Result Join(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"d", "attribute"}));
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  MarkedText separator;
  if (bound[0] != nullptr) {
    ALIGN_ASSIGN_OR_RETURN(separator, JinjaPrinted(*bound[0], call.heap));
  }
  MarkedText out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.Append(separator);
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue item,
                           Follow(call, items[i], bound[1]));
    ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                           JinjaPrinted(item, call.heap));
    out.Append(text);
    ALIGN_RETURN_IF_ERROR(call.heap.CheckRoom(out.size()));
  }
  return call.heap.String(std::move(out));
}

Result Reverse(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  if (call.self.Is(Type::kString)) {
    return call.heap.String(SliceCharacters(*call.self.text, {}, {}, -1));
  }
  ALIGN_ASSIGN_OR_RETURN(Values items, ItemsOf(call));
  std::reverse(items.begin(), items.end());
  return call.heap.List(std::move(items));
}

Result Sort(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound,
                         call.Bind({"reverse", "case_sensitive", "attribute"}));
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  std::vector<std::pair<JinjaValue, JinjaValue>> rows;
  for (const JinjaValue& item : items) {
    ALIGN_ASSIGN_OR_RETURN(
        const JinjaValue key,
        KeyOf(call, item, bound[2], BoolArgument(bound[1], false)));
    rows.emplace_back(key, item);
  }
  ALIGN_RETURN_IF_ERROR(SortByKeys(call, BoolArgument(bound[0], false), rows));
  return SecondOf(call, rows);
}

Result DictSort(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound,
                         call.Bind({"case_sensitive", "by", "reverse"}));
  if (!call.self.Is(Type::kDict)) {
    return call.Bad("a dict expected, " + JinjaTypeName(call.self) + " found");
  }
  bool by_key = true;
  if (bound[1] != nullptr) {
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* by, TextArgument(call, bound[1]));
    by_key = by->text() == "key";
    if (!by_key && by->text() != "value") {
      return call.Bad("by: \"key\" or \"value\" expected");
    }
  }
  std::vector<std::pair<JinjaValue, JinjaValue>> rows;
  for (const auto& [key, value] : call.self.dict->entries) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue sort_key,
                           KeyOf(call, by_key ? key : value, nullptr,
                                 BoolArgument(bound[0], false)));
    rows.emplace_back(sort_key, call.heap.List({key, value}, /*tuple=*/true));
  }
  ALIGN_RETURN_IF_ERROR(SortByKeys(call, BoolArgument(bound[2], false), rows));
  return SecondOf(call, rows);
}

Result Unique(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound,
                         call.Bind({"case_sensitive", "attribute"}));
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  JinjaDict* seen = call.heap.NewDict();
  Values kept;
  for (const JinjaValue& item : items) {
    ALIGN_ASSIGN_OR_RETURN(
        const JinjaValue key,
        KeyOf(call, item, bound[1], BoolArgument(bound[0], false)));
    if (seen->Find(key) != nullptr) continue;
    ALIGN_RETURN_IF_ERROR(seen->Set(key, JinjaValue::None()));
    kept.push_back(item);
  }
  return call.heap.List(std::move(kept));
}

Result Extreme(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound,
                         call.Bind({"case_sensitive", "attribute"}));
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  const bool sensitive = BoolArgument(bound[0], false);
  if (items.empty()) return call.heap.Undefined("the extreme of nothing");
  JinjaValue best = items[0];
  ALIGN_ASSIGN_OR_RETURN(JinjaValue best_key,
                         KeyOf(call, best, bound[1], sensitive));
  for (size_t i = 1; i < items.size(); ++i) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue key,
                           KeyOf(call, items[i], bound[1], sensitive));
    ALIGN_ASSIGN_OR_RETURN(const int order,
                           JinjaOrder(key, best_key, call.heap));
    if (call.name == "min" ? order >= 0 : order <= 0) continue;
    best = items[i];
    best_key = key;
  }
  return best;
}

Result Sum(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"attribute", "start"}));
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  JinjaValue sum = bound[1] == nullptr ? JinjaValue::Integer(0) : *bound[1];
  for (const JinjaValue& item : items) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue term, Follow(call, item, bound[0]));
    ALIGN_ASSIGN_OR_RETURN(sum, JinjaBinary("+", sum, term, call.heap));
  }
  return sum;
}

Result Map(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  const JinjaValue* attribute = nullptr;
  const JinjaValue* otherwise = nullptr;
  if (call.arguments.empty()) {
    ALIGN_ASSIGN_OR_RETURN(const auto bound,
                           call.Bind({"attribute", "default"}));
    attribute = bound[0];
    otherwise = bound[1];
    if (attribute == nullptr) return call.Bad("a filter's name expected");
  }
  Values mapped;
  for (const JinjaValue& item : items) {
    JinjaValue value;
    if (attribute != nullptr) {
      ALIGN_ASSIGN_OR_RETURN(value, Follow(call, item, attribute));
      if (value.Is(Type::kUndefined) && otherwise) value = *otherwise;
    } else {
      ALIGN_ASSIGN_OR_RETURN(const MarkedText* name,
                             TextArgument(call, &call.arguments[0]));
      if (name->text() == "map") return call.Bad("map in map");
      ALIGN_ASSIGN_OR_RETURN(
          value, CallJinjaFilter({.name = name->text(),
                                  .self = item,
                                  .arguments = {call.arguments.begin() + 1,
                                                call.arguments.end()},
                                  .named = call.named,
                                  .heap = call.heap}));
    }
    mapped.push_back(value);
    ALIGN_RETURN_IF_ERROR(call.heap.Step());
  }
  return call.heap.List(std::move(mapped));
}

Result Select(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  Values kept;
  for (const JinjaValue& item : items) {
    ALIGN_ASSIGN_OR_RETURN(const bool holds, Holds(call, item, 0));
    if (holds == (call.name == "select")) kept.push_back(item);
  }
  return call.heap.List(std::move(kept));
}

Result SelectAttr(const JinjaCall& call) {
  if (call.arguments.empty()) return call.Bad("an attribute's name expected");
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  Values kept;
  for (const JinjaValue& item : items) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue value,
                           Follow(call, item, &call.arguments[0]));
    ALIGN_ASSIGN_OR_RETURN(const bool holds, Holds(call, value, 1));
    if (holds == (call.name == "selectattr")) kept.push_back(item);
  }
  return call.heap.List(std::move(kept));
}

Result GroupBy(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound,
                         call.Bind({"attribute", "default", "case_sensitive"}));
  if (bound[0] == nullptr) return call.Bad("an attribute expected");
  if (bound[1] != nullptr) {
    return Unimplemented("groupby: a default is outside the subset");
  }
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  std::vector<std::pair<JinjaValue, JinjaValue>> rows;
  std::vector<JinjaValue> groups;
  for (const JinjaValue& item : items) {
    ALIGN_ASSIGN_OR_RETURN(
        const JinjaValue key,
        KeyOf(call, item, bound[0], BoolArgument(bound[2], false)));
    rows.emplace_back(key, item);
  }
  ALIGN_RETURN_IF_ERROR(SortByKeys(call, /*reverse=*/false, rows));
  for (size_t i = 0; i < rows.size();) {
    Values members;
    const JinjaValue key = rows[i].first;
    while (i < rows.size()) {
      ALIGN_ASSIGN_OR_RETURN(const bool same,
                             JinjaEqual(rows[i].first, key, call.heap));
      if (!same && !members.empty()) break;
      members.push_back(rows[i++].second);
    }
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue name,
                           Follow(call, members[0], bound[0]));
    groups.push_back(call.heap.List({name, call.heap.List(std::move(members))},
                                    /*tuple=*/true));
  }
  return call.heap.List(std::move(groups));
}

Result Batch(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound,
                         call.Bind({"linecount", "fill_with"}));
  ALIGN_ASSIGN_OR_RETURN(const int64_t size,
                         IntegerArgument(call, bound[0], 0));
  if (size < 1) return call.Bad("a count of at least 1 expected");
  ALIGN_ASSIGN_OR_RETURN(const Values items, ItemsOf(call));
  Values batches;
  for (size_t i = 0; i < items.size();) {
    const size_t count = std::min(items.size() - i, static_cast<size_t>(size));
    Values batch(items.begin() + static_cast<int64_t>(i),
                 items.begin() + static_cast<int64_t>(i + count));
    i += count;
    if (bound[1] != nullptr && !bound[1]->Is(Type::kNone)) {
      ALIGN_RETURN_IF_ERROR(call.heap.CheckRoom(
          static_cast<size_t>(std::min<int64_t>(size, int64_t{1} << 40)) *
          sizeof(JinjaValue)));
      batch.resize(static_cast<size_t>(size), *bound[1]);
    }
    batches.push_back(call.heap.List(std::move(batch)));
  }
  return call.heap.List(std::move(batches));
}

}  // namespace align::jinja_filters
