#include "align/text/jinja_value.h"

#include <algorithm>

namespace align {
namespace {

using Type = JinjaValue::Type;

// A key by which equal values meet; empty: the value is no key.
std::string KeyOf(const JinjaValue& key) {
  switch (key.type) {
    case Type::kString:
      return "s" + key.str();
    case Type::kBool:
    case Type::kInteger:
      return "i" + std::to_string(key.integer);
    case Type::kFloat:
      return "f" + std::to_string(key.number);
    case Type::kNone:
      return "n";
    default:
      return "";
  }
}

int DepthOf(const JinjaValue& value) {
  if (value.Is(Type::kList)) return value.list->depth;
  if (value.Is(Type::kDict)) return value.dict->depth;
  return 0;
}

}  // namespace

JinjaValue JinjaValue::None() {
  JinjaValue value;
  value.type = Type::kNone;
  return value;
}

JinjaValue JinjaValue::Bool(bool flag) {
  JinjaValue value;
  value.type = Type::kBool;
  value.integer = flag ? 1 : 0;
  return value;
}

JinjaValue JinjaValue::Integer(int64_t integer) {
  JinjaValue value;
  value.type = Type::kInteger;
  value.integer = integer;
  return value;
}

JinjaValue JinjaValue::Float(double number) {
  JinjaValue value;
  value.type = Type::kFloat;
  value.number = number;
  return value;
}

JinjaValue JinjaValue::StringView(const MarkedText& text) {
  JinjaValue value;
  value.type = Type::kString;
  value.text = &text;
  return value;
}

const JinjaValue* JinjaDict::Find(const JinjaValue& key) const {
  const std::string name = KeyOf(key);
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries[found->second].second;
}

const JinjaValue* JinjaDict::Find(std::string_view key) const {
  std::string name = "s";
  name += key;
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries[found->second].second;
}

absl::Status JinjaDict::Set(const JinjaValue& key, const JinjaValue& value) {
  std::string name = KeyOf(key);
  if (name.empty()) {
    return InvalidArgument("a value of type " + JinjaTypeName(key) +
                           " cannot be the key of a dict");
  }
  const auto [at, added] = index_.emplace(std::move(name), entries.size());
  if (added) {
    entries.emplace_back(key, value);
  } else {
    entries[at->second].second = value;
  }
  return absl::OkStatus();
}

const JinjaValue* JinjaScope::Find(std::string_view name) const {
  for (const JinjaScope* scope = this; scope; scope = scope->parent) {
    for (const auto& [known, value] : scope->names) {
      if (known == name) return &value;
    }
  }
  return nullptr;
}

void JinjaScope::Set(std::string_view name, const JinjaValue& value) {
  for (auto& [known, old] : names) {
    if (known == name) {
      old = value;
      return;
    }
  }
  names.emplace_back(name, value);
}

void JinjaHeap::Count(size_t bytes) {
  bytes_ += bytes;
  steps_ += static_cast<int64_t>(bytes / 256);
}

JinjaValue JinjaHeap::String(MarkedText text) {
  Count(sizeof(MarkedText) + text.size() +
        text.runs().size() * sizeof(MarkedText::Run));
  return JinjaValue::StringView(texts_.emplace_back(std::move(text)));
}

JinjaValue JinjaHeap::Undefined(std::string name) {
  JinjaValue value = String(std::move(name));
  value.type = Type::kUndefined;
  return value;
}

JinjaValue JinjaHeap::List(std::vector<JinjaValue> items, bool tuple) {
  Count(sizeof(JinjaList) + items.size() * sizeof(JinjaValue));
  JinjaList& list = lists_.emplace_back();
  for (const JinjaValue& item : items) {
    list.depth = std::max(list.depth, DepthOf(item) + 1);
  }
  too_deep_ |= list.depth > limits_.max_depth;
  list.items = std::move(items);
  list.tuple = tuple;
  JinjaValue value;
  value.type = Type::kList;
  value.list = &list;
  return value;
}

JinjaDict* JinjaHeap::NewDict() { return &dicts_.emplace_back(); }

JinjaValue JinjaHeap::Dict(JinjaDict* dict) {
  Count(sizeof(JinjaDict) + dict->entries.size() * 8 * sizeof(JinjaValue));
  for (const auto& [key, item] : dict->entries) {
    dict->depth = std::max(dict->depth, DepthOf(item) + 1);
  }
  too_deep_ |= dict->depth > limits_.max_depth;
  JinjaValue value;
  value.type = Type::kDict;
  value.dict = dict;
  return value;
}

JinjaValue JinjaHeap::Namespace(JinjaDict* dict) {
  Count(sizeof(JinjaDict));
  JinjaValue value;
  value.type = Type::kNamespace;
  value.dict = dict;
  return value;
}

JinjaLoop* JinjaHeap::NewLoop(std::vector<JinjaValue> items) {
  Count(sizeof(JinjaLoop) + items.size() * sizeof(JinjaValue));
  JinjaLoop& loop = loops_.emplace_back();
  loop.items = std::move(items);
  return &loop;
}

JinjaValue JinjaHeap::Function(JinjaFunction function) {
  Count(sizeof(JinjaFunction));
  JinjaValue value;
  value.type = Type::kFunction;
  value.function = &functions_.emplace_back(std::move(function));
  return value;
}

JinjaScope* JinjaHeap::NewScope(JinjaScope* parent) {
  Count(4 * sizeof(JinjaScope));
  JinjaScope& scope = scopes_.emplace_back();
  scope.parent = parent;
  return &scope;
}

absl::Status JinjaHeap::Step(int64_t count) {
  steps_ += count;
  if (steps_ > limits_.max_steps) {
    return ResourceExhausted("the template takes more than " +
                             std::to_string(limits_.max_steps) + " steps");
  }
  if (too_deep_) {
    return ResourceExhausted("lists or dicts more than " +
                             std::to_string(limits_.max_depth) +
                             " deep in one another");
  }
  return CheckRoom(0);
}

absl::Status JinjaHeap::CheckRoom(size_t bytes) {
  if (bytes_ <= limits_.max_bytes && bytes <= limits_.max_bytes - bytes_) {
    return absl::OkStatus();
  }
  return ResourceExhausted("the template's values take more than " +
                           std::to_string(limits_.max_bytes) + " bytes");
}

std::string JinjaTypeName(const JinjaValue& value) {
  switch (value.type) {
    case Type::kUndefined:
      return "undefined";
    case Type::kNone:
      return "none";
    case Type::kBool:
      return "bool";
    case Type::kInteger:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kString:
      return "str";
    case Type::kList:
      return value.list->tuple ? "tuple" : "list";
    case Type::kDict:
      return "dict";
    case Type::kNamespace:
      return "namespace";
    case Type::kLoop:
      return "loop";
    case Type::kFunction:
      break;
  }
  return "function";
}

bool JinjaTruth(const JinjaValue& value) {
  switch (value.type) {
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
    case Type::kInteger:
      return value.integer != 0;
    case Type::kFloat:
      return value.number != 0;
    case Type::kString:
      return !value.text->empty();
    case Type::kList:
      return !value.list->items.empty();
    case Type::kDict:
      return !value.dict->entries.empty();
    default:
      return true;
  }
}

}  // namespace align
