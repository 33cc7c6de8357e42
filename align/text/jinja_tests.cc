// The tests of Jinja templates: `value is NAME`.

#include <array>
#include <string_view>

#include "align/text/jinja_call.h"
#include "align/text/jinja_compare.h"
#include "align/text/jinja_text.h"

namespace align {
namespace {

using Type = JinjaValue::Type;

bool IsSequence(const JinjaValue& value) {
  return value.Is(Type::kString) || value.Is(Type::kList) ||
         value.Is(Type::kDict);
}

// Tests of a value's type alone.
struct TypeTest {
  std::string_view name;
  bool (*holds)(const JinjaValue&);
};

constexpr std::array<TypeTest, 14> kTypeTests = {{
    {"defined", [](const JinjaValue& v) { return !v.Is(Type::kUndefined); }},
    {"undefined", [](const JinjaValue& v) { return v.Is(Type::kUndefined); }},
    {"none", [](const JinjaValue& v) { return v.Is(Type::kNone); }},
    {"string", [](const JinjaValue& v) { return v.Is(Type::kString); }},
    {"mapping", [](const JinjaValue& v) { return v.Is(Type::kDict); }},
    {"sequence",
     [](const JinjaValue& v) {
       return IsSequence(v) || v.Is(Type::kUndefined);
     }},
    {"iterable",
     [](const JinjaValue& v) {
       return IsSequence(v) || v.Is(Type::kUndefined) || v.Is(Type::kLoop);
     }},
    {"number", [](const JinjaValue& v) { return v.IsNumber(); }},
    {"integer", [](const JinjaValue& v) { return v.Is(Type::kInteger); }},
    {"float", [](const JinjaValue& v) { return v.Is(Type::kFloat); }},
    {"boolean", [](const JinjaValue& v) { return v.Is(Type::kBool); }},
    {"true",
     [](const JinjaValue& v) { return v.Is(Type::kBool) && v.integer != 0; }},
    {"false",
     [](const JinjaValue& v) { return v.Is(Type::kBool) && v.integer == 0; }},
    {"callable", [](const JinjaValue& v) { return v.Is(Type::kFunction); }},
}};

// Tests that compare with an argument, by each of their names.
struct Comparison {
  std::string_view name;
  std::string_view op;
};
constexpr std::array<Comparison, 16> kComparisons = {{{"eq", "=="},
                                                      {"equalto", "=="},
                                                      {"==", "=="},
                                                      {"ne", "!="},
                                                      {"!=", "!="},
                                                      {"lt", "<"},
                                                      {"lessthan", "<"},
                                                      {"<", "<"},
                                                      {"le", "<="},
                                                      {"<=", "<="},
                                                      {"gt", ">"},
                                                      {"greaterthan", ">"},
                                                      {">", ">"},
                                                      {"ge", ">="},
                                                      {">=", ">="},
                                                      {"in", "in"}}};

absl::StatusOr<bool> Compare(const JinjaCall& call, std::string_view op,
                             const JinjaValue& other) {
  if (op == "in") return JinjaContains(other, call.self, call.heap);
  if (op == "==" || op == "!=") {
    ALIGN_ASSIGN_OR_RETURN(const bool equal,
                           JinjaEqual(call.self, other, call.heap));
    return equal == (op == "==");
  }
  ALIGN_ASSIGN_OR_RETURN(const int order,
                         JinjaOrder(call.self, other, call.heap));
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  return op == ">" ? order > 0 : order >= 0;
}

absl::StatusOr<bool> Divisible(const JinjaCall& call, int64_t by,
                               int64_t rest) {
  if (!call.self.IsInteger() || by == 0) {
    return call.Bad("an int that is not divided by 0 expected");
  }
  // -1 divides all, and the lowest int by it is out of range.
  const int64_t found = by == -1 ? 0 : call.self.integer % by;
  return (found < 0 ? -found : found) == rest;
}

// The cases of a text; false where it has no letter with a case.
bool HasCase(const std::string& text, LetterCase letter_case) {
  const LetterCase other = letter_case == LetterCase::kLower
                               ? LetterCase::kUpper
                               : LetterCase::kLower;
  const MarkedText marked(text, 0);
  return WithCase(marked, letter_case).text() == text &&
         WithCase(marked, other).text() != text;
}

}  // namespace

absl::StatusOr<bool> CallJinjaTest(const JinjaCall& call) {
  for (const TypeTest& test : kTypeTests) {
    if (test.name != call.name) continue;
    ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
    return test.holds(call.self);
  }
  for (const Comparison& test : kComparisons) {
    if (test.name != call.name) continue;
    ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"other"}));
    if (bound[0] == nullptr) return call.Bad("an argument expected");
    return Compare(call, test.op, *bound[0]);
  }
  if (call.name == "odd" || call.name == "even") {
    ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
    return Divisible(call, 2, call.name == "odd" ? 1 : 0);
  }
  if (call.name == "divisibleby") {
    ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"num"}));
    ALIGN_ASSIGN_OR_RETURN(const int64_t by,
                           IntegerArgument(call, bound[0], 0));
    return Divisible(call, by, 0);
  }
  if (call.name == "sameas") {
    ALIGN_ASSIGN_OR_RETURN(const auto bound, call.Bind({"other"}));
    if (bound[0] == nullptr) return call.Bad("an argument expected");
    if (call.self.type != bound[0]->type) return false;
    return JinjaEqual(call.self, *bound[0], call.heap);
  }
  if (call.name == "lower" || call.name == "upper") {
    ALIGN_RETURN_IF_ERROR(call.Bind({}).status());
    ALIGN_ASSIGN_OR_RETURN(const MarkedText text,
                           JinjaPrinted(call.self, call.heap));
    return HasCase(text.text(), call.name == "lower" ? LetterCase::kLower
                                                     : LetterCase::kUpper);
  }
  return Unimplemented("the test \"" + std::string(call.name.substr(0, 40)) +
                       "\" is outside the subset");
}

}  // namespace align
