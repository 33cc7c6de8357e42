#include "align/text/jinja_operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "align/text/jinja_compare.h"

namespace align {
namespace {

using Type = JinjaValue::Type;
using Result = absl::StatusOr<JinjaValue>;

absl::Status WrongTypes(std::string_view op, const JinjaValue& a,
                        const JinjaValue& b) {
  std::string message = "\"" + std::string(op) + "\" of " + JinjaTypeName(a) +
                        " and " + JinjaTypeName(b);
  for (const JinjaValue& value : {a, b}) {
    if (value.Is(Type::kUndefined) && value.text != nullptr) {
      message += ": " + value.str();
    }
  }
  return InvalidArgument(message);
}

absl::Status Overflow(std::string_view op) {
  return OutOfRange("\"" + std::string(op) +
                    "\": an int beyond 64 bits is outside the subset");
}

Result IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    return JinjaValue::Float(
        std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t power = 1;
  if (base == 0 || base == 1 || base == -1)
    exponent = exponent == 0 ? 0 : exponent % 2 + 2;
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(power, base, &power)) return Overflow("**");
  }
  return JinjaValue::Integer(power);
}

Result IntegerArithmetic(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "**") {
    return IntegerPower(a, b);
  } else if (b == 0) {
    return InvalidArgument("\"" + std::string(op) + "\": a division by zero");
  } else if (op == "/") {
    return JinjaValue::Float(static_cast<double>(a) / static_cast<double>(b));
  } else if (b == -1) {
    if (op == "//") overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
  } else {
    // Rounded down, as Python does.
    const int64_t rest = a % b;
    const bool down = rest != 0 && (rest < 0) != (b < 0);
    result = op == "//" ? a / b - (down ? 1 : 0) : rest + (down ? b : 0);
  }
  if (overflow) return Overflow(op);
  return JinjaValue::Integer(result);
}

Result FloatArithmetic(std::string_view op, double a, double b) {
  if (op == "+") return JinjaValue::Float(a + b);
  if (op == "-") return JinjaValue::Float(a - b);
  if (op == "*") return JinjaValue::Float(a * b);
  if (op == "**") return JinjaValue::Float(std::pow(a, b));
  if (b == 0) {
    return InvalidArgument("\"" + std::string(op) + "\": a division by zero");
  }
  if (op == "/") return JinjaValue::Float(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return JinjaValue::Float(rest);
  return JinjaValue::Float(std::round((a - rest) / b));
}

// `value` `times` over.
Result Repeat(const JinjaValue& value, int64_t times, JinjaHeap& heap) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  const size_t size = value.Is(Type::kString)
                          ? value.str().size()
                          : value.list->items.size() * sizeof(JinjaValue);
  size_t bytes = 0;
  if (__builtin_mul_overflow(size, count, &bytes)) {
    bytes = std::numeric_limits<size_t>::max();
  }
  ALIGN_RETURN_IF_ERROR(heap.CheckRoom(bytes));
  ALIGN_RETURN_IF_ERROR(heap.Step(static_cast<int64_t>(bytes / 16)));
  if (value.Is(Type::kString)) {
    MarkedText out;
    for (size_t i = 0; size > 0 && i < count; ++i) out.Append(*value.text);
    return heap.String(std::move(out));
  }
  std::vector<JinjaValue> items;
  for (size_t i = 0; size > 0 && i < count; ++i) {
    const auto& more = value.list->items;
    items.insert(items.end(), more.begin(), more.end());
  }
  return heap.List(std::move(items), value.list->tuple);
}

Result Concatenate(const JinjaValue& a, const JinjaValue& b, JinjaHeap& heap) {
  ALIGN_ASSIGN_OR_RETURN(MarkedText text, JinjaPrinted(a, heap));
  ALIGN_ASSIGN_OR_RETURN(const MarkedText more, JinjaPrinted(b, heap));
  ALIGN_RETURN_IF_ERROR(heap.CheckRoom(text.size() + more.size()));
  text.Append(more);
  return heap.String(std::move(text));
}

}  // namespace

absl::StatusOr<JinjaValue> JinjaBinary(std::string_view op, const JinjaValue& a,
                                       const JinjaValue& b, JinjaHeap& heap) {
  if (op == "~") return Concatenate(a, b, heap);
  if (a.IsInteger() && b.IsInteger()) {
    return IntegerArithmetic(op, a.integer, b.integer);
  }
  if (a.IsNumber() && b.IsNumber()) {
    return FloatArithmetic(op, a.AsDouble(), b.AsDouble());
  }
  const bool strings = a.Is(Type::kString) && b.Is(Type::kString);
  if (op == "+" && strings) return Concatenate(a, b, heap);
  if (op == "+" && a.Is(Type::kList) && b.Is(Type::kList) &&
      a.list->tuple == b.list->tuple) {
    std::vector<JinjaValue> items = a.list->items;
    items.insert(items.end(), b.list->items.begin(), b.list->items.end());
    ALIGN_RETURN_IF_ERROR(heap.Step(static_cast<int64_t>(items.size() / 8)));
    return heap.List(std::move(items), a.list->tuple);
  }
  if (op == "*") {
    for (const auto& [value, count] : {std::pair(a, b), std::pair(b, a)}) {
      if ((value.Is(Type::kString) || value.Is(Type::kList)) &&
          count.IsInteger()) {
        return Repeat(value, count.integer, heap);
      }
    }
  }
  if (op == "%" && a.Is(Type::kString)) {
    return Unimplemented("formatting by \"%\" is outside the subset");
  }
  return WrongTypes(op, a, b);
}

absl::StatusOr<JinjaValue> JinjaSigned(std::string_view op,
                                       const JinjaValue& a) {
  if (!a.IsNumber()) return WrongTypes(op, JinjaValue::Integer(0), a);
  if (a.Is(Type::kFloat)) {
    return JinjaValue::Float(op == "-" ? -a.number : a.number);
  }
  return IntegerArithmetic(op, 0, a.integer);
}

}  // namespace align
