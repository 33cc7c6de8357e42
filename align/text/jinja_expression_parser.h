#pragma once

// Internal to align/text: expressions of Jinja templates.

#include <string>
#include <string_view>

#include "align/base/status.h"
#include "align/text/jinja_ast.h"
#include "align/text/jinja_token_stream.h"

namespace align {

// Parses with Jinja's precedence: inline if, or, and, not, comparisons, + -, ~,
// * / // %, **, unary, then attributes, calls, filters and tests. Errors are
// "line N: ..."; kUnimplemented names what is outside the subset.
class JinjaExpressionParser {
 public:
  // Trees and brackets deeper than this are refused.
  static constexpr int kMaxDepth = 120;

  // `tokens` must outlive this.
  explicit JinjaExpressionParser(JinjaTokenStream& tokens) : tokens_(tokens) {}

  // An expression, or a tuple of them without brackets.
  absl::StatusOr<JinjaExpressionPtr> Tuple();
  absl::StatusOr<JinjaExpressionPtr> Expression();
  // The same without an inline if, which belongs to the for loop.
  absl::StatusOr<JinjaExpressionPtr> ExpressionWithoutIf();
  // What for and set assign to.
  absl::StatusOr<JinjaExpressionPtr> Target();
  // `value` behind the filters that follow, if any.
  absl::StatusOr<JinjaExpressionPtr> Filters(JinjaExpressionPtr value);
  // One filter, without the "|", and those that follow.
  absl::StatusOr<JinjaExpressionPtr> FilterChain(JinjaExpressionPtr value);

  JinjaExpressionPtr Make(JinjaExpression::Kind kind, int line,
                          std::string text = "") const;

 private:
  using Result = absl::StatusOr<JinjaExpressionPtr>;

  // Sets the depth, which is bounded.
  Result Finish(JinjaExpressionPtr node) const;
  Result Pair(JinjaExpression::Kind kind, std::string text, int line,
              JinjaExpressionPtr left, JinjaExpressionPtr right) const;
  Result Or();
  Result And();
  Result Not();
  Result Compare();
  Result Sum();
  Result Concat();
  Result Product();
  Result Power();
  Result Unary(bool with_filters);
  Result Primary();
  Result Constant(const JinjaToken& token) const;
  Result Brackets();
  Result List(JinjaExpression::Kind kind, std::string_view close);
  Result Dict();
  Result Postfix(JinjaExpressionPtr node);
  Result Attribute(JinjaExpressionPtr node);
  Result Subscript(JinjaExpressionPtr node);
  Result Filter(JinjaExpressionPtr node);
  Result Test(JinjaExpressionPtr node);
  absl::Status Arguments(JinjaExpression& call);

  JinjaTokenStream& tokens_;
  int nesting_ = 0;
};

}  // namespace align
