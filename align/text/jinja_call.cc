#include "align/text/jinja_call.h"

#include <algorithm>

#include "align/text/jinja_compare.h"
#include "align/text/jinja_text.h"

namespace align {
namespace {

using Type = JinjaValue::Type;

std::string Quoted(std::string_view name) {
  return "\"" + std::string(name.substr(0, 40)) + "\"";
}

absl::StatusOr<JinjaValue> LoopField(const JinjaLoop& loop,
                                     std::string_view name, JinjaHeap& heap) {
  const auto at = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.items.size());
  if (name == "index") return JinjaValue::Integer(at + 1);
  if (name == "index0") return JinjaValue::Integer(at);
  if (name == "revindex") return JinjaValue::Integer(length - at);
  if (name == "revindex0") return JinjaValue::Integer(length - at - 1);
  if (name == "first") return JinjaValue::Bool(at == 0);
  if (name == "last") return JinjaValue::Bool(at + 1 == length);
  if (name == "length") return JinjaValue::Integer(length);
  if (name == "depth") return JinjaValue::Integer(1);  // not recursive
  if (name == "depth0") return JinjaValue::Integer(0);
  if (name == "previtem" && at > 0) return loop.items[loop.index - 1];
  if (name == "nextitem" && at + 1 < length) return loop.items[loop.index + 1];
  if (name == "previtem" || name == "nextitem") {
    return heap.Undefined("loop." + std::string(name) + " is undefined");
  }
  return Unimplemented("loop." + std::string(name.substr(0, 40)) +
                       " is outside the subset");
}

absl::Status UndefinedObject(const JinjaValue& object,
                             std::string_view access) {
  return InvalidArgument(Quoted(access) + " of an undefined value: " +
                         (object.text ? object.str() : std::string("?")));
}

}  // namespace

absl::StatusOr<std::vector<const JinjaValue*>> JinjaCall::Bind(
    std::initializer_list<std::string_view> parameters) const {
  std::vector<const JinjaValue*> values(parameters.size(), nullptr);
  if (arguments.size() > parameters.size()) {
    return Bad("at most " + std::to_string(parameters.size()) +
               " arguments expected, " + std::to_string(arguments.size()) +
               " found");
  }
  for (size_t i = 0; i < arguments.size(); ++i) values[i] = &arguments[i];
  for (const auto& [key, value] : named) {
    const auto* const at = std::find(parameters.begin(), parameters.end(), key);
    if (at == parameters.end()) {
      return Unimplemented(std::string(name) + ": the argument " + Quoted(key) +
                           " is outside the subset");
    }
    const JinjaValue*& slot = values[at - parameters.begin()];
    if (slot != nullptr) return Bad("the argument " + Quoted(key) + " twice");
    slot = &value;
  }
  return values;
}

absl::Status JinjaCall::Bad(std::string_view what) const {
  return InvalidArgument(std::string(name) + ": " + std::string(what));
}

absl::StatusOr<int64_t> IntegerArgument(const JinjaCall& call,
                                        const JinjaValue* value,
                                        int64_t otherwise) {
  if (value == nullptr || value->Is(Type::kNone)) return otherwise;
  if (value->IsInteger()) return value->integer;
  return call.Bad("an int expected, " + JinjaTypeName(*value) + " found");
}

bool BoolArgument(const JinjaValue* value, bool otherwise) {
  return value == nullptr ? otherwise : JinjaTruth(*value);
}

absl::StatusOr<const MarkedText*> TextArgument(const JinjaCall& call,
                                               const JinjaValue* value) {
  if (value != nullptr && value->Is(Type::kString)) return value->text;
  return call.Bad("a str expected, " +
                  (value ? JinjaTypeName(*value) : std::string("nothing")) +
                  " found");
}

absl::StatusOr<JinjaValue> JinjaAttribute(const JinjaValue& object,
                                          std::string_view name,
                                          JinjaHeap& heap) {
  switch (object.type) {
    case Type::kUndefined:
      return UndefinedObject(object, name);
    case Type::kLoop:
      return LoopField(*object.loop, name, heap);
    case Type::kDict:
    case Type::kNamespace:
      if (const JinjaValue* value = object.dict->Find(name)) return *value;
      break;
    default:
      break;
  }
  return heap.Undefined("a value of type " + JinjaTypeName(object) +
                        " has no " + Quoted(name));
}

absl::StatusOr<JinjaValue> JinjaSubscript(const JinjaValue& object,
                                          const JinjaValue& key,
                                          JinjaHeap& heap) {
  const bool name = key.Is(Type::kString);
  if (object.Is(Type::kUndefined)) {
    return UndefinedObject(object, name ? key.str() : "[]");
  }
  if (object.Is(Type::kDict) || object.Is(Type::kNamespace)) {
    if (const JinjaValue* value = object.dict->Find(key)) return *value;
    return heap.Undefined("a dict has no " +
                          (name ? Quoted(key.str()) : "such key"));
  }
  if (name) return JinjaAttribute(object, key.str(), heap);
  if (key.IsInteger()) {
    const int64_t at = key.integer;
    if (object.Is(Type::kList)) {
      const auto& items = object.list->items;
      const auto size = static_cast<int64_t>(items.size());
      if (at >= -size && at < size) return items[at < 0 ? at + size : at];
      return heap.Undefined("a list of " + std::to_string(size) +
                            " has no item " + std::to_string(at));
    }
    if (object.Is(Type::kString)) {
      ALIGN_RETURN_IF_ERROR(
          heap.Step(static_cast<int64_t>(object.str().size() / 64)));
      const int64_t size = CountCharacters(object.str());
      if (at >= -size && at < size) {
        const int64_t first = at < 0 ? at + size : at;
        return heap.String(SliceCharacters(*object.text, first, first + 1, 1));
      }
      return heap.Undefined("a str of " + std::to_string(size) +
                            " characters has no item " + std::to_string(at));
    }
  }
  return heap.Undefined("a value of type " + JinjaTypeName(object) +
                        " has no such item");
}

}  // namespace align
