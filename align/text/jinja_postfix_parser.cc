// What follows an operand: attributes, subscripts, calls, filters and tests.

#include <set>
#include <utility>

#include "align/text/jinja_expression_parser.h"

namespace align {
namespace {

using Kind = JinjaExpression::Kind;
using TokenKind = JinjaToken::Kind;

// A token that a test's one argument without brackets may start with.
bool StartsTestArgument(const JinjaTokenStream& tokens) {
  const JinjaToken& token = tokens.Peek();
  switch (token.kind) {
    case TokenKind::kName:
      return token.text != "else" && token.text != "or" &&
             token.text != "and" && token.text != "is" && token.text != "if" &&
             token.text != "in" && token.text != "not";
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return true;
    case TokenKind::kOperator:
      return token.text == "[" || token.text == "{";
    default:
      return false;
  }
}

}  // namespace

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Postfix(
    JinjaExpressionPtr node) {
  while (true) {
    if (tokens_.Take(".")) {
      ALIGN_ASSIGN_OR_RETURN(node, Attribute(std::move(node)));
    } else if (tokens_.Take("[")) {
      ALIGN_ASSIGN_OR_RETURN(node, Subscript(std::move(node)));
    } else if (tokens_.AtOperator("(")) {
      JinjaExpressionPtr call = Make(Kind::kCall, tokens_.Peek().line);
      call->children.push_back(std::move(node));
      ALIGN_RETURN_IF_ERROR(Arguments(*call));
      ALIGN_ASSIGN_OR_RETURN(node, Finish(std::move(call)));
    } else {
      return node;
    }
  }
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Attribute(
    JinjaExpressionPtr node) {
  const JinjaToken token = tokens_.Peek();
  if (token.kind == TokenKind::kInteger) {
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr index, Constant(tokens_.Next()));
    return Pair(Kind::kSubscript, "", token.line, std::move(node),
                std::move(index));
  }
  ALIGN_ASSIGN_OR_RETURN(std::string name,
                         tokens_.ExpectName("the name of an attribute"));
  JinjaExpressionPtr attribute =
      Make(Kind::kAttribute, token.line, std::move(name));
  attribute->children.push_back(std::move(node));
  return Finish(std::move(attribute));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Subscript(
    JinjaExpressionPtr node) {
  const int line = tokens_.Peek().line;
  JinjaExpressionPtr parts[3];
  int count = 1;
  for (JinjaExpressionPtr& part : parts) {
    if (!tokens_.AtOperator(":") && !tokens_.AtOperator("]")) {
      ALIGN_ASSIGN_OR_RETURN(part, Expression());
    }
    if (count == 3 || !tokens_.Take(":")) break;
    ++count;
  }
  if (tokens_.AtOperator(",")) {
    return Unimplemented("line " + std::to_string(line) +
                         ": subscripts with a comma are outside the subset");
  }
  if (count == 1 && !parts[0]) return tokens_.Unexpected("an index");
  ALIGN_RETURN_IF_ERROR(tokens_.Expect("]"));
  if (count == 1) {
    return Pair(Kind::kSubscript, "", line, std::move(node),
                std::move(parts[0]));
  }
  JinjaExpressionPtr slice = Make(Kind::kSlice, line);
  slice->children.push_back(std::move(node));
  for (JinjaExpressionPtr& part : parts) {
    slice->children.push_back(std::move(part));
  }
  return Finish(std::move(slice));
}

absl::Status JinjaExpressionParser::Arguments(JinjaExpression& call) {
  ALIGN_RETURN_IF_ERROR(tokens_.Expect("("));
  std::set<std::string> names;
  bool first = true;
  while (!tokens_.Take(")")) {
    if (!first) {
      ALIGN_RETURN_IF_ERROR(tokens_.Expect(","));
      if (tokens_.Take(")")) break;
    }
    first = false;
    const JinjaToken token = tokens_.Peek();
    if (tokens_.AtOperator("*") || tokens_.AtOperator("**")) {
      return Unimplemented("line " + std::to_string(token.line) +
                           ": arguments unpacked by \"" + token.text +
                           "\" are outside the subset");
    }
    if (token.kind == TokenKind::kName && tokens_.AtOperator("=", 1)) {
      tokens_.Next();
      tokens_.Next();
      if (!names.insert(token.text).second) {
        return InvalidArgument("line " + std::to_string(token.line) +
                               ": the argument " + token.text.substr(0, 40) +
                               " is given twice");
      }
      call.names.push_back(token.text);
    } else if (!call.names.empty()) {
      return tokens_.Unexpected("a named argument");
    }
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, Expression());
    call.children.push_back(std::move(value));
  }
  return absl::OkStatus();
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Filter(
    JinjaExpressionPtr value) {
  const int line = tokens_.Peek().line;
  ALIGN_ASSIGN_OR_RETURN(std::string name,
                         tokens_.ExpectName("the name of a filter"));
  JinjaExpressionPtr filter = Make(Kind::kFilter, line, std::move(name));
  filter->children.push_back(std::move(value));
  if (tokens_.AtOperator("(")) {
    ALIGN_RETURN_IF_ERROR(Arguments(*filter));
  }
  return Finish(std::move(filter));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::FilterChain(
    JinjaExpressionPtr value) {
  ALIGN_ASSIGN_OR_RETURN(value, Filter(std::move(value)));
  return Filters(std::move(value));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Filters(
    JinjaExpressionPtr value) {
  while (true) {
    if (tokens_.Take("|")) {
      ALIGN_ASSIGN_OR_RETURN(value, Filter(std::move(value)));
    } else if (tokens_.AtName("is")) {
      ALIGN_ASSIGN_OR_RETURN(value, Test(std::move(value)));
    } else if (tokens_.AtOperator("(")) {
      JinjaExpressionPtr call = Make(Kind::kCall, tokens_.Peek().line);
      call->children.push_back(std::move(value));
      ALIGN_RETURN_IF_ERROR(Arguments(*call));
      ALIGN_ASSIGN_OR_RETURN(value, Finish(std::move(call)));
    } else {
      return value;
    }
  }
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Test(
    JinjaExpressionPtr value) {
  const int line = tokens_.Next().line;
  const bool negated = tokens_.TakeName("not");
  ALIGN_ASSIGN_OR_RETURN(std::string name,
                         tokens_.ExpectName("the name of a test"));
  JinjaExpressionPtr test = Make(Kind::kTest, line, std::move(name));
  test->children.push_back(std::move(value));
  if (tokens_.AtOperator("(")) {
    ALIGN_RETURN_IF_ERROR(Arguments(*test));
  } else if (StartsTestArgument(tokens_)) {
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr argument, Primary());
    ALIGN_ASSIGN_OR_RETURN(argument, Postfix(std::move(argument)));
    test->children.push_back(std::move(argument));
  }
  ALIGN_ASSIGN_OR_RETURN(test, Finish(std::move(test)));
  if (!negated) return test;
  JinjaExpressionPtr node = Make(Kind::kUnary, line, "not");
  node->children.push_back(std::move(test));
  return Finish(std::move(node));
}

}  // namespace align
