// The methods of strings, lists and dicts in Jinja templates.

#include <algorithm>
#include <array>
#include <string_view>

#include "align/text/jinja_call.h"
#include "align/text/jinja_compare.h"
#include "align/text/jinja_text.h"
#include "align/text/unicode.h"

namespace align {
namespace {

using Type = JinjaValue::Type;
using Result = absl::StatusOr<JinjaValue>;

Result StripMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"chars"}));
  std::optional<std::string_view> chars;
  if (bound[0] != nullptr && !bound[0]->Is(Type::kNone)) {
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* text,
                           TextArgument(call, bound[0]));
    chars = text->text();
  }
  const TextEnd ends = call.name == "strip"    ? TextEnd::kBoth
                       : call.name == "lstrip" ? TextEnd::kLeft
                                               : TextEnd::kRight;
  return call.heap.String(Strip(*call.self.text, chars, ends));
}

Result SplitMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"sep", "maxsplit"}));
  ALIGN_ASSIGN_OR_RETURN(const int64_t most,
                         IntegerArgument(call, bound[1], -1));
  const TextEnd from = call.name == "split" ? TextEnd::kLeft : TextEnd::kRight;
  std::vector<MarkedText> parts;
  if (bound[0] == nullptr || bound[0]->Is(Type::kNone)) {
    parts = SplitSpace(*call.self.text, most, from);
  } else {
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* separator,
                           TextArgument(call, bound[0]));
    if (separator->empty()) return call.Bad("an empty separator");
    parts = SplitAt(*call.self.text, separator->text(), most, from);
  }
  std::vector<JinjaValue> items;
  for (MarkedText& part : parts) {
    items.push_back(call.heap.String(std::move(part)));
  }
  return call.heap.List(std::move(items));
}

Result SplitLinesMethod(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  std::vector<JinjaValue> items;
  for (MarkedText& line : SplitLines(*call.self.text)) {
    items.push_back(call.heap.String(std::move(line)));
  }
  return call.heap.List(std::move(items));
}

// startswith and endswith: a string, or any of a tuple.
Result EndMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"part"}));
  std::vector<JinjaValue> parts;
  if (bound[0] != nullptr && bound[0]->Is(Type::kList)) {
    parts = bound[0]->list->items;
  } else if (bound[0] != nullptr) {
    parts = {*bound[0]};
  }
  if (parts.empty()) return call.Bad("a str expected");
  bool found = false;
  for (const JinjaValue& part : parts) {
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* text, TextArgument(call, &part));
    found |= call.name == "startswith"
                 ? call.self.str().starts_with(text->text())
                 : call.self.str().ends_with(text->text());
  }
  return JinjaValue::Bool(found);
}

Result FindMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"sub"}));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText* part, TextArgument(call, bound[0]));
  const std::string& text = call.self.str();
  if (call.name == "count") {
    return JinjaValue::Integer(part->empty() ? CountCharacters(text) + 1
                                             : CountOf(text, part->text()));
  }
  const size_t at =
      call.name == "rfind" ? text.rfind(part->text()) : text.find(part->text());
  if (at != std::string::npos) {
    return JinjaValue::Integer(
        CountCharacters(std::string_view(text).substr(0, at)));
  }
  if (call.name == "index") return call.Bad("the part is not there");
  return JinjaValue::Integer(-1);
}

Result ReplaceMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"old", "new", "count"}));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText* old, TextArgument(call, bound[0]));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText* text, TextArgument(call, bound[1]));
  ALIGN_ASSIGN_OR_RETURN(const int64_t most,
                         IntegerArgument(call, bound[2], -1));
  const size_t places =
      old->empty() ? call.self.str().size() + 1
                   : static_cast<size_t>(CountOf(call.self.str(), old->text()));
  ALIGN_RETURN_IF_ERROR(call.heap.CheckRoom(places * text->size()));
  return call.heap.String(Replace(*call.self.text, old->text(), *text, most));
}

Result CaseMethod(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  const LetterCase to = call.name == "lower"        ? LetterCase::kLower
                        : call.name == "upper"      ? LetterCase::kUpper
                        : call.name == "title"      ? LetterCase::kTitle
                        : call.name == "capitalize" ? LetterCase::kCapitalize
                                                    : LetterCase::kSwap;
  return call.heap.String(WithCase(*call.self.text, to));
}

// isdigit, isalpha, isalnum, isspace: of all characters, at least one.
Result ClassMethod(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  bool holds = !call.self.str().empty();
  std::string_view rest = call.self.str();
  while (holds && !rest.empty()) {
    const Character c = FirstCharacter(rest);
    rest.remove_prefix(c.length);
    const bool letter = IsLetter(c.value), digit = IsNumeric(c.value);
    holds = call.name == "isdigit"   ? digit
            : call.name == "isalpha" ? letter
            : call.name == "isalnum" ? letter || digit
                                     : IsJinjaSpace(c.value);
  }
  return JinjaValue::Bool(holds);
}

Result AffixMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"affix"}));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText* affix, TextArgument(call, bound[0]));
  const std::string& text = call.self.str();
  if (call.name == "removeprefix" && text.starts_with(affix->text())) {
    return call.heap.String(call.self.text->Slice(affix->size(), text.size()));
  }
  if (call.name == "removesuffix" && text.ends_with(affix->text())) {
    return call.heap.String(
        call.self.text->Slice(0, text.size() - affix->size()));
  }
  return call.self;
}

Result JoinMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"iterable"}));
  if (bound[0] == nullptr) return call.Bad("a list expected");
  ALIGN_ASSIGN_OR_RETURN(const std::vector<JinjaValue> items,
                         JinjaItems(*bound[0], call.heap));
  MarkedText out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.Append(*call.self.text);
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* text,
                           TextArgument(call, &items[i]));
    out.Append(*text);
    ALIGN_RETURN_IF_ERROR(call.heap.CheckRoom(out.size()));
  }
  return call.heap.String(std::move(out));
}

Result GetMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"key", "default"}));
  if (bound[0] == nullptr) return call.Bad("a key expected");
  if (const JinjaValue* value = call.self.dict->Find(*bound[0])) return *value;
  return bound[1] == nullptr ? JinjaValue::None() : *bound[1];
}

// items, keys and values, as lists.
Result EntriesMethod(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  std::vector<JinjaValue> items;
  for (const auto& [key, value] : call.self.dict->entries) {
    if (call.name == "items") {
      items.push_back(call.heap.List({key, value}, /*tuple=*/true));
    } else {
      items.push_back(call.name == "keys" ? key : value);
    }
  }
  return call.heap.List(std::move(items));
}

Result ListMethod(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"value"}));
  if (bound[0] == nullptr) return call.Bad("a value expected");
  const auto& items = call.self.list->items;
  int64_t count = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    ALIGN_ASSIGN_OR_RETURN(const bool equal,
                           JinjaEqual(items[i], *bound[0], call.heap));
    if (equal && call.name == "index") {
      return JinjaValue::Integer(static_cast<int64_t>(i));
    }
    count += equal ? 1 : 0;
  }
  if (call.name == "index") return call.Bad("the value is not in the list");
  return JinjaValue::Integer(count);
}

struct Method {
  Type type;
  std::string_view name;
  Result (*call)(const JinjaCall&);  // nullptr: outside the subset
};

constexpr std::array<Method, 67> kMethods = {{
    {Type::kString, "strip", StripMethod},
    {Type::kString, "lstrip", StripMethod},
    {Type::kString, "rstrip", StripMethod},
    {Type::kString, "split", SplitMethod},
    {Type::kString, "rsplit", SplitMethod},
    {Type::kString, "splitlines", SplitLinesMethod},
    {Type::kString, "startswith", EndMethod},
    {Type::kString, "endswith", EndMethod},
    {Type::kString, "find", FindMethod},
    {Type::kString, "rfind", FindMethod},
    {Type::kString, "index", FindMethod},
    {Type::kString, "count", FindMethod},
    {Type::kString, "replace", ReplaceMethod},
    {Type::kString, "lower", CaseMethod},
    {Type::kString, "upper", CaseMethod},
    {Type::kString, "title", CaseMethod},
    {Type::kString, "capitalize", CaseMethod},
    {Type::kString, "swapcase", CaseMethod},
    {Type::kString, "isdigit", ClassMethod},
    {Type::kString, "isalpha", ClassMethod},
    {Type::kString, "isalnum", ClassMethod},
    {Type::kString, "isspace", ClassMethod},
    {Type::kString, "removeprefix", AffixMethod},
    {Type::kString, "removesuffix", AffixMethod},
    {Type::kString, "join", JoinMethod},
    {Type::kString, "format", nullptr},
    {Type::kString, "format_map", nullptr},
    {Type::kString, "encode", nullptr},
    {Type::kString, "center", nullptr},
    {Type::kString, "ljust", nullptr},
    {Type::kString, "rjust", nullptr},
    {Type::kString, "zfill", nullptr},
    {Type::kString, "partition", nullptr},
    {Type::kString, "rpartition", nullptr},
    {Type::kString, "casefold", nullptr},
    {Type::kString, "expandtabs", nullptr},
    {Type::kString, "translate", nullptr},
    {Type::kString, "rindex", nullptr},
    {Type::kString, "islower", nullptr},
    {Type::kString, "isupper", nullptr},
    {Type::kString, "istitle", nullptr},
    {Type::kString, "isascii", nullptr},
    {Type::kString, "isdecimal", nullptr},
    {Type::kString, "isnumeric", nullptr},
    {Type::kString, "isidentifier", nullptr},
    {Type::kString, "isprintable", nullptr},
    {Type::kList, "index", ListMethod},
    {Type::kList, "count", ListMethod},
    {Type::kList, "append", nullptr},
    {Type::kList, "extend", nullptr},
    {Type::kList, "insert", nullptr},
    {Type::kList, "pop", nullptr},
    {Type::kList, "remove", nullptr},
    {Type::kList, "clear", nullptr},
    {Type::kList, "copy", nullptr},
    {Type::kList, "reverse", nullptr},
    {Type::kList, "sort", nullptr},
    {Type::kDict, "get", GetMethod},
    {Type::kDict, "items", EntriesMethod},
    {Type::kDict, "keys", EntriesMethod},
    {Type::kDict, "values", EntriesMethod},
    {Type::kDict, "clear", nullptr},
    {Type::kDict, "copy", nullptr},
    {Type::kDict, "pop", nullptr},
    {Type::kDict, "popitem", nullptr},
    {Type::kDict, "setdefault", nullptr},
    {Type::kDict, "update", nullptr},
}};

}  // namespace

bool IsJinjaMethod(JinjaValue::Type type, std::string_view name) {
  return std::any_of(kMethods.begin(), kMethods.end(), [&](const Method& m) {
    return m.type == type && m.name == name;
  });
}

absl::StatusOr<JinjaValue> CallJinjaMethod(const JinjaCall& call) {
  for (const Method& method : kMethods) {
    if (method.type != call.self.type || method.name != call.name) continue;
    if (method.call != nullptr) return method.call(call);
    return Unimplemented("the method " + std::string(call.name) + " of " +
                         JinjaTypeName(call.self) + " is outside the subset");
  }
  return InvalidArgument("a value of type " + JinjaTypeName(call.self) +
                         " has no method \"" +
                         std::string(call.name.substr(0, 40)) + "\"");
}

}  // namespace align
