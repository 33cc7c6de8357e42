#include "align/text/jinja_evaluator.h"

#include <string>
#include <utility>
#include <vector>

#include "align/text/jinja_functions.h"
#include "align/text/jinja_operators.h"
#include "align/text/jinja_text.h"

namespace align {
namespace {

using Kind = JinjaExpression::Kind;
using Type = JinjaValue::Type;

// Expressions, statements and macros in one another: what the stack bears.
constexpr int kMaxDepth = 500;

absl::StatusOr<bool> Holds(const std::string& op, const JinjaValue& a,
                           const JinjaValue& b, JinjaHeap& heap) {
  if (op == "in" || op == "not in") {
    ALIGN_ASSIGN_OR_RETURN(const bool in, JinjaContains(b, a, heap));
    return in == (op == "in");
  }
  if (op == "==" || op == "!=") {
    ALIGN_ASSIGN_OR_RETURN(const bool equal, JinjaEqual(a, b, heap));
    return equal == (op == "==");
  }
  ALIGN_ASSIGN_OR_RETURN(const int order, JinjaOrder(a, b, heap));
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  return op == ">" ? order > 0 : order >= 0;
}

}  // namespace

absl::Status JinjaEvaluator::Enter() {
  if (++depth_ > kMaxDepth) {
    return ResourceExhausted("blocks, macros and expressions more than " +
                             std::to_string(kMaxDepth) + " levels deep");
  }
  return heap_.Step();
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Evaluate(
    const JinjaExpression& expression, JinjaScope& scope) {
  const absl::Status status = Enter();
  Result result = status.ok() ? Dispatch(expression, scope) : Result(status);
  Leave();
  if (!result.ok()) return Located(result.status(), expression.line);
  return result;
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Dispatch(const JinjaExpression& e,
                                                    JinjaScope& scope) {
  switch (e.kind) {
    case Kind::kLiteral:
      return Literal(e);
    case Kind::kName:
      return Name(e, scope);
    case Kind::kList:
    case Kind::kTuple:
      return List(e, scope);
    case Kind::kDict:
      return Dict(e, scope);
    case Kind::kUnary:
      return Unary(e, scope);
    case Kind::kBinary: {
      ALIGN_ASSIGN_OR_RETURN(const JinjaValue a,
                             Evaluate(*e.children[0], scope));
      ALIGN_ASSIGN_OR_RETURN(const JinjaValue b,
                             Evaluate(*e.children[1], scope));
      return JinjaBinary(e.text, a, b, heap_);
    }
    case Kind::kCompare:
      return Compare(e, scope);
    case Kind::kAnd:
    case Kind::kOr: {
      ALIGN_ASSIGN_OR_RETURN(const JinjaValue a,
                             Evaluate(*e.children[0], scope));
      if (JinjaTruth(a) == (e.kind == Kind::kOr)) return a;
      return Evaluate(*e.children[1], scope);
    }
    case Kind::kConditional:
      return Conditional(e, scope);
    case Kind::kAttribute:
      return Attribute(e, scope);
    case Kind::kSubscript: {
      ALIGN_ASSIGN_OR_RETURN(const JinjaValue object,
                             Evaluate(*e.children[0], scope));
      ALIGN_ASSIGN_OR_RETURN(const JinjaValue key,
                             Evaluate(*e.children[1], scope));
      return JinjaSubscript(object, key, heap_);
    }
    case Kind::kSlice:
      return Slice(e, scope);
    case Kind::kCall:
      return Call(e, scope);
    case Kind::kFilter:
    case Kind::kTest:
      break;
  }
  JinjaCall call{.name = e.text, .heap = heap_};
  ALIGN_ASSIGN_OR_RETURN(call.self, Evaluate(*e.children[0], scope));
  ALIGN_RETURN_IF_ERROR(Arguments(e, scope, call));
  if (e.kind == Kind::kFilter) return CallJinjaFilter(call);
  ALIGN_ASSIGN_OR_RETURN(const bool holds, CallJinjaTest(call));
  return JinjaValue::Bool(holds);
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Literal(const JinjaExpression& e) {
  if (const auto* flag = std::get_if<bool>(&e.literal)) {
    return JinjaValue::Bool(*flag);
  }
  if (const auto* integer = std::get_if<int64_t>(&e.literal)) {
    return JinjaValue::Integer(*integer);
  }
  if (const auto* number = std::get_if<double>(&e.literal)) {
    return JinjaValue::Float(*number);
  }
  if (const auto* text = std::get_if<MarkedText>(&e.literal)) {
    return JinjaValue::StringView(*text);
  }
  return JinjaValue::None();
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Name(const JinjaExpression& e,
                                                const JinjaScope& scope) {
  if (const JinjaValue* value = scope.Find(e.text)) return *value;
  if (IsJinjaFunction(e.text, time_)) return heap_.Function({.name = e.text});
  return heap_.Undefined("\"" + e.text + "\" is undefined");
}

absl::StatusOr<JinjaValue> JinjaEvaluator::List(const JinjaExpression& e,
                                                JinjaScope& scope) {
  std::vector<JinjaValue> items;
  for (const JinjaExpressionPtr& child : e.children) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue item, Evaluate(*child, scope));
    items.push_back(item);
  }
  return heap_.List(std::move(items), e.kind == Kind::kTuple);
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Dict(const JinjaExpression& e,
                                                JinjaScope& scope) {
  JinjaDict* dict = heap_.NewDict();
  for (size_t i = 0; i < e.children.size(); i += 2) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue key,
                           Evaluate(*e.children[i], scope));
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue value,
                           Evaluate(*e.children[i + 1], scope));
    ALIGN_RETURN_IF_ERROR(dict->Set(key, value));
  }
  return heap_.Dict(dict);
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Unary(const JinjaExpression& e,
                                                 JinjaScope& scope) {
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue value,
                         Evaluate(*e.children[0], scope));
  if (e.text == "not") return JinjaValue::Bool(!JinjaTruth(value));
  return JinjaSigned(e.text, value);
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Compare(const JinjaExpression& e,
                                                   JinjaScope& scope) {
  ALIGN_ASSIGN_OR_RETURN(JinjaValue left, Evaluate(*e.children[0], scope));
  for (size_t i = 0; i < e.names.size(); ++i) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue right,
                           Evaluate(*e.children[i + 1], scope));
    ALIGN_ASSIGN_OR_RETURN(const bool holds,
                           Holds(e.names[i], left, right, heap_));
    if (!holds) return JinjaValue::Bool(false);
    left = right;
  }
  return JinjaValue::Bool(true);
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Conditional(const JinjaExpression& e,
                                                       JinjaScope& scope) {
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue condition,
                         Evaluate(*e.children[0], scope));
  if (JinjaTruth(condition)) return Evaluate(*e.children[1], scope);
  if (e.children.size() > 2) return Evaluate(*e.children[2], scope);
  return heap_.Undefined("an inline if without else");
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Attribute(const JinjaExpression& e,
                                                     JinjaScope& scope) {
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue object,
                         Evaluate(*e.children[0], scope));
  if (IsJinjaMethod(object.type, e.text)) {
    return heap_.Function({.name = e.text, .self = object, .method = true});
  }
  return JinjaAttribute(object, e.text, heap_);
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Slice(const JinjaExpression& e,
                                                 JinjaScope& scope) {
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue object,
                         Evaluate(*e.children[0], scope));
  std::optional<int64_t> bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (!e.children[i + 1]) continue;
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue bound,
                           Evaluate(*e.children[i + 1], scope));
    if (bound.Is(Type::kNone)) continue;
    if (!bound.IsInteger()) {
      return InvalidArgument("a slice: an int expected, " +
                             JinjaTypeName(bound) + " found");
    }
    bounds[i] = bound.integer;
  }
  const int64_t step = bounds[2].value_or(1);
  if (step == 0) return InvalidArgument("a slice with a step of 0");
  if (object.Is(Type::kString)) {
    ALIGN_RETURN_IF_ERROR(
        heap_.Step(static_cast<int64_t>(object.str().size() / 16)));
    return heap_.String(
        SliceCharacters(*object.text, bounds[0], bounds[1], step));
  }
  if (!object.Is(Type::kList)) {
    return InvalidArgument("a slice of a value of type " +
                           JinjaTypeName(object));
  }
  const std::vector<JinjaValue>& items = object.list->items;
  std::vector<JinjaValue> taken;
  for (const size_t i : SliceIndices(static_cast<int64_t>(items.size()),
                                     bounds[0], bounds[1], step)) {
    taken.push_back(items[i]);
  }
  ALIGN_RETURN_IF_ERROR(heap_.Step(static_cast<int64_t>(taken.size() / 8)));
  return heap_.List(std::move(taken), object.list->tuple);
}

absl::Status JinjaEvaluator::Arguments(const JinjaExpression& e,
                                       JinjaScope& scope, JinjaCall& call) {
  const size_t named = e.children.size() - e.names.size();
  for (size_t i = 1; i < e.children.size(); ++i) {
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue value,
                           Evaluate(*e.children[i], scope));
    if (i < named) {
      call.arguments.push_back(value);
    } else {
      call.named.emplace_back(e.names[i - named], value);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<JinjaValue> JinjaEvaluator::Call(const JinjaExpression& e,
                                                JinjaScope& scope) {
  const JinjaExpression& callee = *e.children[0];
  JinjaCall call{.heap = heap_};
  if (callee.kind == Kind::kAttribute) {
    ALIGN_ASSIGN_OR_RETURN(call.self, Evaluate(*callee.children[0], scope));
    call.name = callee.text;
    ALIGN_RETURN_IF_ERROR(Arguments(e, scope, call));
    if (IsJinjaMethod(call.self.type, call.name)) return CallJinjaMethod(call);
    if (call.self.Is(Type::kLoop) && call.name == "cycle") {
      if (call.arguments.empty()) return call.Bad("a value expected");
      return call.arguments[call.self.loop->index % call.arguments.size()];
    }
    ALIGN_ASSIGN_OR_RETURN(const JinjaValue value,
                           JinjaAttribute(call.self, call.name, heap_));
    return CallValue(value, call);
  }
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue value, Evaluate(callee, scope));
  ALIGN_RETURN_IF_ERROR(Arguments(e, scope, call));
  return CallValue(value, call);
}

absl::StatusOr<JinjaValue> JinjaEvaluator::CallValue(const JinjaValue& callee,
                                                     JinjaCall& call) {
  if (!callee.Is(Type::kFunction)) {
    std::string what =
        "a value of type " + JinjaTypeName(callee) + " is called";
    if (call.self.Is(Type::kString) || call.self.Is(Type::kList) ||
        call.self.Is(Type::kDict)) {
      what = "the method " + std::string(call.name.substr(0, 40)) + " of " +
             JinjaTypeName(call.self) + " is called";
    }
    if (callee.Is(Type::kUndefined) && callee.text) what += ": " + callee.str();
    return InvalidArgument(what);
  }
  const JinjaFunction& function = *callee.function;
  call.name = function.name;
  if (function.macro != nullptr) return call_macro_(function, call);
  if (!function.method) return CallJinjaFunction(call, time_);
  call.self = function.self;
  return CallJinjaMethod(call);
}

}  // namespace align
