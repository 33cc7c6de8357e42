#include "align/text/jinja_json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "align/text/jinja_compare.h"
#include "align/text/unicode.h"

namespace align {
namespace {

using Type = JinjaValue::Type;
using simdjson::dom::element;
using simdjson::dom::element_type;

void AppendEscape(uint32_t unit, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) {
    out += kHex[(unit >> shift) & 15];
  }
}

void AppendQuoted(std::string_view text, bool ascii, std::string& out) {
  out += '"';
  while (!text.empty()) {
    const Character c = FirstCharacter(text);
    switch (c.value) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (c.value >= 0x10000 && ascii) {
          const uint32_t rest = c.value - 0x10000;
          AppendEscape(0xD800 + (rest >> 10), out);
          AppendEscape(0xDC00 + (rest & 0x3FF), out);
        } else if (c.value < 0x20 || (ascii && c.value > 0x7E)) {
          AppendEscape(c.value, out);
        } else {
          out += text.substr(0, c.length);
        }
    }
    text.remove_prefix(c.length);
  }
  out += '"';
}

class Writer {
 public:
  Writer(const JinjaJsonStyle& style, JinjaHeap& heap)
      : style_(style), heap_(heap) {}

  absl::Status Append(const JinjaValue& value);
  std::string text;

 private:
  absl::Status AppendList(const JinjaList& list);
  absl::Status AppendDict(const JinjaDict& dict);
  absl::Status AppendKey(const JinjaValue& key);
  void BreakLine() {
    if (!style_.has_indent) return;
    text += '\n';
    for (int i = 0; i < level_; ++i) text += style_.indent;
  }

  const JinjaJsonStyle& style_;
  JinjaHeap& heap_;
  int level_ = 0;
};

absl::Status Writer::AppendList(const JinjaList& list) {
  if (list.items.empty()) {
    text += "[]";
    return absl::OkStatus();
  }
  text += '[';
  ++level_;
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) text += style_.item_separator;
    BreakLine();
    ALIGN_RETURN_IF_ERROR(Append(list.items[i]));
  }
  --level_;
  BreakLine();
  text += ']';
  return absl::OkStatus();
}

absl::Status Writer::AppendKey(const JinjaValue& key) {
  if (key.Is(Type::kString)) {
    AppendQuoted(key.str(), style_.ascii, text);
    return absl::OkStatus();
  }
  text += '"';
  ALIGN_RETURN_IF_ERROR(Append(key));
  text += '"';
  return absl::OkStatus();
}

absl::Status Writer::AppendDict(const JinjaDict& dict) {
  if (dict.entries.empty()) {
    text += "{}";
    return absl::OkStatus();
  }
  std::vector<std::pair<JinjaValue, JinjaValue>> entries = dict.entries;
  if (style_.sort_keys) {
    for (const auto& [key, value] : entries) {
      if (!key.Is(Type::kString)) {
        return InvalidArgument("tojson: keys of type " + JinjaTypeName(key) +
                               " are not sorted; str expected");
      }
    }
    std::stable_sort(entries.begin(), entries.end(),
                     [](const auto& a, const auto& b) {
                       return a.first.str() < b.first.str();
                     });
  }
  text += '{';
  ++level_;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) text += style_.item_separator;
    BreakLine();
    ALIGN_RETURN_IF_ERROR(AppendKey(entries[i].first));
    text += style_.key_separator;
    ALIGN_RETURN_IF_ERROR(Append(entries[i].second));
  }
  --level_;
  BreakLine();
  text += '}';
  return absl::OkStatus();
}

absl::Status Writer::Append(const JinjaValue& value) {
  ALIGN_RETURN_IF_ERROR(heap_.Step());
  ALIGN_RETURN_IF_ERROR(heap_.CheckRoom(text.size()));
  switch (value.type) {
    case Type::kNone:
      text += "null";
      return absl::OkStatus();
    case Type::kBool:
      text += value.integer != 0 ? "true" : "false";
      return absl::OkStatus();
    case Type::kInteger:
      text += std::to_string(value.integer);
      return absl::OkStatus();
    case Type::kFloat:
      if (std::isfinite(value.number)) {
        text += JinjaFloatText(value.number);
      } else if (std::isnan(value.number)) {
        text += "NaN";
      } else {
        text += value.number < 0 ? "-Infinity" : "Infinity";
      }
      return absl::OkStatus();
    case Type::kString:
      AppendQuoted(value.str(), style_.ascii, text);
      return absl::OkStatus();
    case Type::kList:
      return AppendList(*value.list);
    case Type::kDict:
      return AppendDict(*value.dict);
    default:
      return InvalidArgument("tojson: a value of type " + JinjaTypeName(value) +
                             " has no JSON form");
  }
}

absl::StatusOr<JinjaValue> DictFromJson(const simdjson::dom::object& object,
                                        JinjaHeap& heap) {
  JinjaDict* dict = heap.NewDict();
  for (const auto& [key, member] : object) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue value, JinjaFromJson(member, heap));
    ALIGN_RETURN_IF_ERROR(dict->Set(heap.String(std::string(key)), value));
  }
  return heap.Dict(dict);
}

}  // namespace

absl::StatusOr<JinjaValue> JinjaFromJson(const element& element,
                                         JinjaHeap& heap) {
  switch (element.type()) {
    case element_type::NULL_VALUE:
      return JinjaValue::None();
    case element_type::BOOL:
      return JinjaValue::Bool(bool(element));
    case element_type::INT64:
      return JinjaValue::Integer(int64_t(element));
    case element_type::UINT64:
      return InvalidArgument("the number " + std::to_string(uint64_t(element)) +
                             " is out of range; at most 9223372036854775807 "
                             "expected");
    case element_type::DOUBLE:
      return JinjaValue::Float(double(element));
    case element_type::STRING:
      return heap.String(std::string(std::string_view(element)));
    case element_type::OBJECT:
      return DictFromJson(element, heap);
    case element_type::ARRAY:
      break;
  }
  std::vector<JinjaValue> items;
  for (const simdjson::dom::element item : simdjson::dom::array(element)) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue value, JinjaFromJson(item, heap));
    items.push_back(value);
  }
  return heap.List(std::move(items));
}

absl::StatusOr<std::string> JinjaToJson(const JinjaValue& value,
                                        const JinjaJsonStyle& style,
                                        JinjaHeap& heap) {
  Writer writer(style, heap);
  ALIGN_RETURN_IF_ERROR(writer.Append(value));
  return std::move(writer.text);
}

}  // namespace align
