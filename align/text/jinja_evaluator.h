#pragma once

// Internal to align/text: the values of Jinja expressions.

#include <cstdint>
#include <functional>
#include <optional>

#include "align/base/status.h"
#include "align/text/jinja_ast.h"
#include "align/text/jinja_call.h"
#include "align/text/jinja_compare.h"
#include "align/text/jinja_value.h"

namespace align {

// Evaluates expressions in scopes. What it is made from must outlive it.
class JinjaEvaluator {
 public:
  using CallMacro = std::function<absl::StatusOr<JinjaValue>(
      const JinjaFunction&, const JinjaCall&)>;

  JinjaEvaluator(JinjaHeap& heap, std::optional<int64_t> time,
                 CallMacro call_macro)
      : heap_(heap), time_(time), call_macro_(std::move(call_macro)) {}

  absl::StatusOr<JinjaValue> Evaluate(const JinjaExpression& expression,
                                      JinjaScope& scope);

  // A level of statements in one another, expressions' and macros' included.
  absl::Status Enter();
  void Leave() { --depth_; }

  // `status`, whose line is the first that was named since the start.
  absl::Status Located(const absl::Status& status, int line) {
    if (error_line_ == 0) error_line_ = line;
    return status;
  }
  int error_line() const { return error_line_; }

 private:
  using Result = absl::StatusOr<JinjaValue>;

  Result Dispatch(const JinjaExpression& e, JinjaScope& scope);
  Result Literal(const JinjaExpression& e);
  Result Name(const JinjaExpression& e, const JinjaScope& scope);
  Result List(const JinjaExpression& e, JinjaScope& scope);
  Result Dict(const JinjaExpression& e, JinjaScope& scope);
  Result Unary(const JinjaExpression& e, JinjaScope& scope);
  Result Compare(const JinjaExpression& e, JinjaScope& scope);
  Result Conditional(const JinjaExpression& e, JinjaScope& scope);
  Result Attribute(const JinjaExpression& e, JinjaScope& scope);
  Result Slice(const JinjaExpression& e, JinjaScope& scope);
  Result Call(const JinjaExpression& e, JinjaScope& scope);
  Result CallValue(const JinjaValue& callee, JinjaCall& call);
  // The arguments of a call, filter or test.
  absl::Status Arguments(const JinjaExpression& e, JinjaScope& scope,
                         JinjaCall& call);

  JinjaHeap& heap_;
  std::optional<int64_t> time_;
  CallMacro call_macro_;
  int depth_ = 0;
  int error_line_ = 0;
};

}  // namespace align
