// The filters of Jinja templates: `value | NAME(...)`.

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "align/text/jinja_call.h"
#include "align/text/jinja_compare.h"
#include "align/text/jinja_json.h"
#include "align/text/jinja_sequence_filters.h"
#include "align/text/jinja_text.h"

namespace align {
namespace {

using Type = JinjaValue::Type;
using Result = absl::StatusOr<JinjaValue>;

Result Length(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  switch (call.self.type) {
    case Type::kUndefined:
      return JinjaValue::Integer(0);
    case Type::kString:
      return JinjaValue::Integer(CountCharacters(call.self.str()));
    case Type::kList:
      return JinjaValue::Integer(
          static_cast<int64_t>(call.self.list->items.size()));
    case Type::kDict:
      return JinjaValue::Integer(
          static_cast<int64_t>(call.self.dict->entries.size()));
    default:
      return call.Bad("a value of type " + JinjaTypeName(call.self) +
                      " has no length");
  }
}

Result Default(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound,
                         call.Bind({"default_value", "boolean"}));
  const bool missing =
      call.self.Is(Type::kUndefined) ||
      (BoolArgument(bound[1], false) && !JinjaTruth(call.self));
  if (!missing) return call.self;
  return bound[0] == nullptr ? call.heap.String(std::string()) : *bound[0];
}

// upper, lower, capitalize, title: of the printed value.
Result Case(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                         JinjaPrinted(call.self, call.heap));
  const LetterCase to = call.name == "upper"   ? LetterCase::kUpper
                        : call.name == "lower" ? LetterCase::kLower
                        : call.name == "title" ? LetterCase::kFilterTitle
                                               : LetterCase::kCapitalize;
  return call.heap.String(WithCase(text, to));
}

Result Trim(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"chars"}));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                         JinjaPrinted(call.self, call.heap));
  std::optional<std::string_view> chars;
  if (bound[0] != nullptr && !bound[0]->Is(Type::kNone)) {
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* given,
                           TextArgument(call, bound[0]));
    chars = given->text();
  }
  return call.heap.String(Strip(text, chars, TextEnd::kBoth));
}

Result ReplaceIn(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"old", "new", "count"}));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                         JinjaPrinted(call.self, call.heap));
  if (bound[0] == nullptr || bound[1] == nullptr) {
    return call.Bad("two strings expected");
  }
  ALIGN_ASSIGN_OR_RETURN(const MarkedText old,
                         JinjaPrinted(*bound[0], call.heap));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText replacement,
                         JinjaPrinted(*bound[1], call.heap));
  ALIGN_ASSIGN_OR_RETURN(const int64_t most,
                         IntegerArgument(call, bound[2], -1));
  const size_t places =
      old.empty() ? text.size() + 1
                  : static_cast<size_t>(CountOf(text.text(), old.text()));
  ALIGN_RETURN_IF_ERROR(call.heap.CheckRoom(places * replacement.size()));
  return call.heap.String(Replace(text, old.text(), replacement, most));
}

Result String(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  ALIGN_ASSIGN_OR_RETURN(MarkedText text, JinjaPrinted(call.self, call.heap));
  return call.heap.String(std::move(text));
}

Result Same(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  return call.self;
}

Result Escape(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                         JinjaPrinted(call.self, call.heap));
  return call.heap.String(EscapeHtml(text));
}

// The number that a text is, as Python reads one; nullopt: none.
std::optional<double> ReadFloat(std::string_view text) {
  const MarkedText stripped =
      Strip(MarkedText(std::string(text), 0), std::nullopt, TextEnd::kBoth);
  std::string_view digits = stripped.text();
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [after, error] = std::from_chars(digits.data(), end, number);
  if (digits.empty() || error != std::errc() || after != end) {
    return std::nullopt;
  }
  return number;
}

std::optional<int64_t> ReadInteger(std::string_view text, int base) {
  const MarkedText stripped =
      Strip(MarkedText(std::string(text), 0), std::nullopt, TextEnd::kBoth);
  std::string_view digits = stripped.text();
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  for (const auto& [prefix, of_base] :
       {std::pair("0x", 16), std::pair("0o", 8), std::pair("0b", 2)}) {
    if (base == of_base && digits.starts_with(prefix)) digits.remove_prefix(2);
  }
  int64_t number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [after, error] = std::from_chars(digits.data(), end, number, base);
  if (digits.empty() || digits[0] == '-' || error != std::errc() ||
      after != end) {
    return std::nullopt;
  }
  return negative ? -number : number;
}

Result Int(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"default", "base"}));
  ALIGN_ASSIGN_OR_RETURN(const int64_t base,
                         IntegerArgument(call, bound[1], 10));
  if (base < 2 || base > 36) return call.Bad("a base from 2 to 36 expected");
  const JinjaValue otherwise =
      bound[0] == nullptr ? JinjaValue::Integer(0) : *bound[0];
  std::optional<double> number;
  if (call.self.IsInteger()) return JinjaValue::Integer(call.self.integer);
  if (call.self.Is(Type::kFloat)) {
    number = call.self.number;
  } else if (call.self.Is(Type::kString)) {
    const auto whole = ReadInteger(call.self.str(), static_cast<int>(base));
    if (whole) return JinjaValue::Integer(*whole);
    number = ReadFloat(call.self.str());
  } else if (call.self.Is(Type::kUndefined)) {
    return call.Bad("the value is undefined");
  }
  if (!number || !(std::abs(*number) < 9.2e18)) return otherwise;
  return JinjaValue::Integer(static_cast<int64_t>(*number));
}

Result Float(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"default"}));
  if (call.self.IsNumber()) return JinjaValue::Float(call.self.AsDouble());
  std::optional<double> number;
  if (call.self.Is(Type::kString)) number = ReadFloat(call.self.str());
  if (number) return JinjaValue::Float(*number);
  return bound[0] == nullptr ? JinjaValue::Float(0) : *bound[0];
}

Result Abs(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  if (call.self.Is(Type::kFloat)) {
    return JinjaValue::Float(std::abs(call.self.number));
  }
  if (!call.self.IsInteger() || call.self.integer == INT64_MIN) {
    return call.Bad("a number expected, " + JinjaTypeName(call.self) +
                    " found");
  }
  return JinjaValue::Integer(std::abs(call.self.integer));
}

Result Round(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"precision", "method"}));
  ALIGN_ASSIGN_OR_RETURN(const int64_t precision,
                         IntegerArgument(call, bound[0], 0));
  std::string method = "common";
  if (bound[1] != nullptr) {
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* text,
                           TextArgument(call, bound[1]));
    method = text->text();
  }
  if (!call.self.IsNumber() || precision < 0 || precision > 15) {
    return call.Bad("a number and a precision from 0 to 15 expected");
  }
  const double value = call.self.AsDouble();
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil")
    return JinjaValue::Float(std::ceil(value * scale) / scale);
  if (method == "floor") {
    return JinjaValue::Float(std::floor(value * scale) / scale);
  }
  if (method != "common") {
    return call.Bad("method: common, ceil or floor expected");
  }
  if (call.self.IsInteger()) return JinjaValue::Integer(call.self.integer);
  // Correctly rounded digits, as Python's round has them.
  char digits[400];
  const auto [end, error] =
      std::to_chars(digits, digits + sizeof digits, value,
                    std::chars_format::fixed, static_cast<int>(precision));
  if (error != std::errc()) return call.self;
  double rounded = value;
  std::from_chars(digits, end, rounded);
  return JinjaValue::Float(rounded);
}

Result Indent(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound,
                         call.Bind({"width", "first", "blank"}));
  ALIGN_ASSIGN_OR_RETURN(MarkedText text, JinjaPrinted(call.self, call.heap));
  MarkedText indention;
  if (bound[0] != nullptr && bound[0]->Is(Type::kString)) {
    indention = *bound[0]->text;
  } else {
    ALIGN_ASSIGN_OR_RETURN(const int64_t width,
                           IntegerArgument(call, bound[0], 4));
    if (width > 1000) return call.Bad("a width of at most 1000 expected");
    indention = MarkedText(
        std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '),
        kMarkup);
  }
  const bool blank = BoolArgument(bound[2], false);
  text.Append("\n", kMarkup);  // Jinja's: a last line end stays
  const std::vector<MarkedText> lines = SplitLines(text);
  ALIGN_RETURN_IF_ERROR(
      call.heap.CheckRoom(text.size() + lines.size() * indention.size()));
  MarkedText out;
  if (BoolArgument(bound[1], false)) out.Append(indention);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.Append("\n", kMarkup);
    if (i > 0 && (blank || !lines[i].empty())) out.Append(indention);
    out.Append(lines[i]);
  }
  return call.heap.String(std::move(out));
}

Result Center(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"width"}));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                         JinjaPrinted(call.self, call.heap));
  ALIGN_ASSIGN_OR_RETURN(const int64_t width,
                         IntegerArgument(call, bound[0], 80));
  if (width > 100'000) return call.Bad("a width of at most 100000 expected");
  const int64_t room = width - CountCharacters(text.text());
  if (room <= 0) return call.heap.String(text);
  const int64_t left = room / 2 + (room & width & 1);
  MarkedText out(std::string(static_cast<size_t>(left), ' '), kMarkup);
  out.Append(text);
  out.Append(std::string(static_cast<size_t>(room - left), ' '), kMarkup);
  return call.heap.String(std::move(out));
}

Result WordCount(const JinjaCall& call) {
  ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
  ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                         JinjaPrinted(call.self, call.heap));
  return JinjaValue::Integer(
      static_cast<int64_t>(SplitSpace(text, -1, TextEnd::kLeft).size()));
}

Result Attr(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"name"}));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText* name, TextArgument(call, bound[0]));
  if (call.self.Is(Type::kNamespace) || call.self.Is(Type::kLoop)) {
    return JinjaAttribute(call.self, name->text(), call.heap);
  }
  // An attribute is no entry of a dict.
  return call.heap.Undefined("no attribute \"" + name->text() + "\"");
}

// transformers' own: json.dumps with ensure_ascii off.
Result ToJson(const JinjaCall& call) {
  ALIGN_ASSIGN_OR_RETURN(
      const auto bound,
      call.Bind({"ensure_ascii", "indent", "separators", "sort_keys"}));
  JinjaJsonStyle style{.ascii = BoolArgument(bound[0], false),
                       .sort_keys = BoolArgument(bound[3], false)};
  if (bound[1] != nullptr && !bound[1]->Is(Type::kNone)) {
    style.has_indent = true;
    style.item_separator = ",";
    if (bound[1]->Is(Type::kString)) {
      style.indent = bound[1]->str();
    } else {
      ALIGN_ASSIGN_OR_RETURN(const int64_t indent,
                             IntegerArgument(call, bound[1], 0));
      if (indent > 100) return call.Bad("an indent of at most 100 expected");
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(indent, 0)),
                          ' ');
    }
  }
  if (bound[2] != nullptr && !bound[2]->Is(Type::kNone)) {
    if (!bound[2]->Is(Type::kList) || bound[2]->list->items.size() != 2) {
      return call.Bad("separators: two strings expected");
    }
    const auto& items = bound[2]->list->items;
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* item,
                           TextArgument(call, &items[0]));
    ALIGN_ASSIGN_OR_RETURN(const MarkedText* key,
                           TextArgument(call, &items[1]));
    style.item_separator = item->text();
    style.key_separator = key->text();
  }
  ALIGN_ASSIGN_OR_RETURN(std::string text,
                         JinjaToJson(call.self, style, call.heap));
  return call.heap.String(std::move(text));
}

struct Filter {
  std::string_view name;
  Result (*call)(const JinjaCall&);
};

constexpr std::array<Filter, 42> kFilters = {{
    {"abs", Abs},
    {"attr", Attr},
    {"batch", jinja_filters::Batch},
    {"capitalize", Case},
    {"center", Center},
    {"count", Length},
    {"d", Default},
    {"default", Default},
    {"dictsort", jinja_filters::DictSort},
    {"e", Escape},
    {"escape", Escape},
    {"first", jinja_filters::First},
    {"float", Float},
    {"groupby", jinja_filters::GroupBy},
    {"indent", Indent},
    {"int", Int},
    {"items", jinja_filters::Items},
    {"join", jinja_filters::Join},
    {"last", jinja_filters::Last},
    {"length", Length},
    {"list", jinja_filters::List},
    {"lower", Case},
    {"map", jinja_filters::Map},
    {"max", jinja_filters::Extreme},
    {"min", jinja_filters::Extreme},
    {"reject", jinja_filters::Select},
    {"rejectattr", jinja_filters::SelectAttr},
    {"replace", ReplaceIn},
    {"reverse", jinja_filters::Reverse},
    {"round", Round},
    {"safe", Same},
    {"select", jinja_filters::Select},
    {"selectattr", jinja_filters::SelectAttr},
    {"sort", jinja_filters::Sort},
    {"string", String},
    {"sum", jinja_filters::Sum},
    {"title", Case},
    {"tojson", ToJson},
    {"trim", Trim},
    {"unique", jinja_filters::Unique},
    {"upper", Case},
    {"wordcount", WordCount},
}};

}  // namespace

absl::StatusOr<JinjaValue> CallJinjaFilter(const JinjaCall& call) {
  for (const Filter& filter : kFilters) {
    if (filter.name == call.name) return filter.call(call);
  }
  return Unimplemented("the filter \"" + std::string(call.name.substr(0, 40)) +
                       "\" is outside the subset");
}

}  // namespace align
