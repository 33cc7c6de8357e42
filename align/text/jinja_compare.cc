#include "align/text/jinja_compare.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "align/text/jinja_text.h"
#include "align/text/unicode.h"

namespace align {
namespace {

using Type = JinjaValue::Type;

absl::StatusOr<bool> EqualDicts(const JinjaDict& a, const JinjaDict& b,
                                JinjaHeap& heap) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const JinjaValue* other = b.Find(key);
    if (other == nullptr) return false;
    ALIGN_ASSIGN_OR_RETURN(const bool equal, JinjaEqual(value, *other, heap));
    if (!equal) return false;
  }
  return true;
}

// Python's repr of a string.
void AppendQuoted(const std::string& text, std::string& out) {
  const char quote = text.find('\'') != std::string::npos &&
                             text.find('"') == std::string::npos
                         ? '"'
                         : '\'';
  constexpr char kHex[] = "0123456789abcdef";
  out += quote;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += quote;
}

absl::Status AppendRepr(const JinjaValue& value, JinjaHeap& heap,
                        std::string& out);

absl::Status AppendList(const JinjaList& list, JinjaHeap& heap,
                        std::string& out) {
  out += list.tuple ? '(' : '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    ALIGN_RETURN_IF_ERROR(AppendRepr(list.items[i], heap, out));
  }
  if (list.tuple && list.items.size() == 1) out += ',';
  out += list.tuple ? ')' : ']';
  return absl::OkStatus();
}

absl::Status AppendDict(const JinjaDict& dict, JinjaHeap& heap,
                        std::string& out) {
  out += '{';
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out += ", ";
    ALIGN_RETURN_IF_ERROR(AppendRepr(dict.entries[i].first, heap, out));
    out += ": ";
    ALIGN_RETURN_IF_ERROR(AppendRepr(dict.entries[i].second, heap, out));
  }
  out += '}';
  return absl::OkStatus();
}

absl::Status AppendRepr(const JinjaValue& value, JinjaHeap& heap,
                        std::string& out) {
  ALIGN_RETURN_IF_ERROR(heap.Step());
  ALIGN_RETURN_IF_ERROR(heap.CheckRoom(out.size()));
  switch (value.type) {
    case Type::kUndefined:
      out += "Undefined";
      return absl::OkStatus();
    case Type::kNone:
      out += "None";
      return absl::OkStatus();
    case Type::kBool:
      out += value.integer != 0 ? "True" : "False";
      return absl::OkStatus();
    case Type::kInteger:
      out += std::to_string(value.integer);
      return absl::OkStatus();
    case Type::kFloat:
      out += JinjaFloatText(value.number);
      return absl::OkStatus();
    case Type::kString:
      AppendQuoted(value.str(), out);
      return absl::OkStatus();
    case Type::kList:
      return AppendList(*value.list, heap, out);
    case Type::kDict:
      return AppendDict(*value.dict, heap, out);
    default:
      return Unimplemented("a value of type " + JinjaTypeName(value) +
                           " is printed");
  }
}

}  // namespace

absl::StatusOr<bool> JinjaEqual(const JinjaValue& a, const JinjaValue& b,
                                JinjaHeap& heap) {
  ALIGN_RETURN_IF_ERROR(heap.Step());
  if (a.IsInteger() && b.IsInteger()) return a.integer == b.integer;
  if (a.IsNumber() && b.IsNumber()) return a.AsDouble() == b.AsDouble();
  if (a.type != b.type) return false;
  switch (a.type) {
    case Type::kString:
      return a.str() == b.str();
    case Type::kList: {
      const auto &left = a.list->items, &right = b.list->items;
      if (left.size() != right.size()) return false;
      if (a.list->tuple != b.list->tuple) return false;
      for (size_t i = 0; i < left.size(); ++i) {
        ALIGN_ASSIGN_OR_RETURN(const bool equal,
                               JinjaEqual(left[i], right[i], heap));
        if (!equal) return false;
      }
      return true;
    }
    case Type::kDict:
      return EqualDicts(*a.dict, *b.dict, heap);
    case Type::kNamespace:
      return a.dict == b.dict;
    case Type::kLoop:
      return a.loop == b.loop;
    case Type::kFunction:
      return a.function == b.function;
    default:
      return true;  // both undefined, or both none
  }
}

absl::StatusOr<int> JinjaOrder(const JinjaValue& a, const JinjaValue& b,
                               JinjaHeap& heap) {
  ALIGN_RETURN_IF_ERROR(heap.Step());
  if (a.IsInteger() && b.IsInteger()) {
    return a.integer < b.integer ? -1 : a.integer > b.integer ? 1 : 0;
  }
  if (a.IsNumber() && b.IsNumber()) {
    const double x = a.AsDouble(), y = b.AsDouble();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.Is(Type::kString) && b.Is(Type::kString)) {
    return a.str().compare(b.str());
  }
  if (a.Is(Type::kList) && b.Is(Type::kList)) {
    const auto &left = a.list->items, &right = b.list->items;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      ALIGN_ASSIGN_OR_RETURN(const int order,
                             JinjaOrder(left[i], right[i], heap));
      if (order != 0) return order;
    }
    return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
  }
  return InvalidArgument("values of type " + JinjaTypeName(a) + " and " +
                         JinjaTypeName(b) + " have no order");
}

absl::StatusOr<bool> JinjaContains(const JinjaValue& container,
                                   const JinjaValue& item, JinjaHeap& heap) {
  switch (container.type) {
    case Type::kString:
      if (item.Is(Type::kString)) {
        return container.str().find(item.str()) != std::string::npos;
      }
      return InvalidArgument("\"in\" a string: a string expected before it, " +
                             JinjaTypeName(item) + " found");
    case Type::kDict:
      return container.dict->Find(item) != nullptr;
    case Type::kUndefined:
      return false;
    case Type::kList:
      for (const JinjaValue& other : container.list->items) {
        ALIGN_ASSIGN_OR_RETURN(const bool equal, JinjaEqual(other, item, heap));
        if (equal) return true;
      }
      return false;
    default:
      return InvalidArgument("\"in\" a value of type " +
                             JinjaTypeName(container));
  }
}

absl::StatusOr<MarkedText> JinjaPrinted(const JinjaValue& value,
                                        JinjaHeap& heap) {
  if (value.Is(Type::kString)) return *value.text;
  if (value.Is(Type::kUndefined)) return MarkedText();
  std::string out;
  ALIGN_RETURN_IF_ERROR(AppendRepr(value, heap, out));
  return MarkedText(std::move(out), 0);
}

std::string JinjaFloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto [end, error] = std::to_chars(
      buffer, buffer + sizeof buffer, number, std::chars_format::scientific);
  static_cast<void>(error);  // 64 bytes hold every double
  const std::string scientific(buffer, end);
  const size_t e = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  if (exponent < -4 || exponent >= 16) return scientific;
  char fixed[64];
  const auto fixed_end = std::to_chars(fixed, fixed + sizeof fixed, number,
                                       std::chars_format::fixed)
                             .ptr;
  std::string text(fixed, fixed_end);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

absl::StatusOr<std::vector<JinjaValue>> JinjaItems(const JinjaValue& value,
                                                   JinjaHeap& heap) {
  std::vector<JinjaValue> items;
  switch (value.type) {
    case Type::kUndefined:
      return items;
    case Type::kList:
      ALIGN_RETURN_IF_ERROR(
          heap.Step(static_cast<int64_t>(value.list->items.size())));
      return value.list->items;
    case Type::kDict:
      for (const auto& entry : value.dict->entries) {
        items.push_back(entry.first);
      }
      return items;
    case Type::kString: {
      const std::vector<size_t> starts = CharacterStarts(value.str());
      ALIGN_RETURN_IF_ERROR(heap.Step(static_cast<int64_t>(starts.size())));
      for (size_t i = 0; i + 1 < starts.size(); ++i) {
        items.push_back(
            heap.String(value.text->Slice(starts[i], starts[i + 1])));
      }
      return items;
    }
    default:
      return InvalidArgument("a value of type " + JinjaTypeName(value) +
                             " has no items to go through");
  }
}

}  // namespace align
