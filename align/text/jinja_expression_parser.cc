#include "align/text/jinja_expression_parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>

namespace align {
namespace {

using Kind = JinjaExpression::Kind;
using TokenKind = JinjaToken::Kind;

absl::Status TooDeep(int line) {
  return ResourceExhausted(
      "line " + std::to_string(line) + ": an expression more than " +
      std::to_string(JinjaExpressionParser::kMaxDepth) + " levels deep");
}

std::optional<std::string> ComparisonAt(const JinjaTokenStream& tokens) {
  for (const char* op : {"==", "!=", "<=", ">=", "<", ">"}) {
    if (tokens.AtOperator(op)) return op;
  }
  if (tokens.AtName("in")) return "in";
  if (tokens.AtName("not") && tokens.AtName("in", 1)) return "not in";
  return std::nullopt;
}

}  // namespace

JinjaExpressionPtr JinjaExpressionParser::Make(Kind kind, int line,
                                               std::string text) const {
  auto node = std::make_unique<JinjaExpression>();
  node->kind = kind;
  node->line = line;
  node->text = std::move(text);
  return node;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Finish(
    JinjaExpressionPtr node) const {
  for (const JinjaExpressionPtr& child : node->children) {
    if (child) node->depth = std::max(node->depth, child->depth + 1);
  }
  if (node->depth > kMaxDepth) return TooDeep(node->line);
  return node;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Pair(
    Kind kind, std::string text, int line, JinjaExpressionPtr left,
    JinjaExpressionPtr right) const {
  JinjaExpressionPtr node = Make(kind, line, std::move(text));
  node->children.push_back(std::move(left));
  node->children.push_back(std::move(right));
  return Finish(std::move(node));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Tuple() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr first, Expression());
  if (!tokens_.AtOperator(",")) return first;
  JinjaExpressionPtr tuple = Make(Kind::kTuple, first->line);
  tuple->children.push_back(std::move(first));
  while (tokens_.Take(",")) {
    const TokenKind next = tokens_.Peek().kind;
    if (next == TokenKind::kBlockEnd || next == TokenKind::kOutputEnd ||
        tokens_.AtOperator(")")) {
      break;
    }
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr item, Expression());
    tuple->children.push_back(std::move(item));
  }
  return Finish(std::move(tuple));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Expression() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, ExpressionWithoutIf());
  while (tokens_.AtName("if")) {
    const int line = tokens_.Next().line;
    JinjaExpressionPtr node = Make(Kind::kConditional, line);
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr condition, ExpressionWithoutIf());
    node->children.push_back(std::move(condition));
    node->children.push_back(std::move(value));
    if (tokens_.TakeName("else")) {
      ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr otherwise, Expression());
      node->children.push_back(std::move(otherwise));
    }
    ALIGN_ASSIGN_OR_RETURN(value, Finish(std::move(node)));
  }
  return value;
}

absl::StatusOr<JinjaExpressionPtr>
JinjaExpressionParser::ExpressionWithoutIf() {
  if (++nesting_ > kMaxDepth) return TooDeep(tokens_.Peek().line);
  auto result = Or();
  --nesting_;
  return result;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Target() {
  const auto one = [this]() -> Result {
    const int line = tokens_.Peek().line;
    const bool brackets = tokens_.Take("(");
    ALIGN_ASSIGN_OR_RETURN(std::string name,
                           tokens_.ExpectName("the name of a variable"));
    JinjaExpressionPtr node = Make(Kind::kName, line, std::move(name));
    if (tokens_.Take(".")) {
      ALIGN_ASSIGN_OR_RETURN(std::string attribute,
                             tokens_.ExpectName("the name of an attribute"));
      JinjaExpressionPtr object = std::move(node);
      node = Make(Kind::kAttribute, line, std::move(attribute));
      node->children.push_back(std::move(object));
    }
    if (brackets && tokens_.AtOperator(",")) return node;  // a tuple in ()
    if (brackets) ALIGN_RETURN_IF_ERROR(tokens_.Expect(")"));
    return node;
  };
  const bool brackets = tokens_.AtOperator("(");
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr first, one());
  if (!tokens_.AtOperator(",")) return first;
  JinjaExpressionPtr tuple = Make(Kind::kTuple, first->line);
  tuple->children.push_back(std::move(first));
  while (tokens_.Take(",")) {
    if (tokens_.AtOperator(")") || tokens_.AtName("in") ||
        tokens_.AtOperator("=")) {
      break;
    }
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr item, one());
    tuple->children.push_back(std::move(item));
  }
  if (brackets) ALIGN_RETURN_IF_ERROR(tokens_.Expect(")"));
  return Finish(std::move(tuple));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Or() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr left, And());
  while (tokens_.AtName("or")) {
    const int line = tokens_.Next().line;
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr right, And());
    ALIGN_ASSIGN_OR_RETURN(
        left, Pair(Kind::kOr, "or", line, std::move(left), std::move(right)));
  }
  return left;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::And() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr left, Not());
  while (tokens_.AtName("and")) {
    const int line = tokens_.Next().line;
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr right, Not());
    ALIGN_ASSIGN_OR_RETURN(
        left, Pair(Kind::kAnd, "and", line, std::move(left), std::move(right)));
  }
  return left;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Not() {
  if (!tokens_.AtName("not") || tokens_.AtName("in", 1)) return Compare();
  const int line = tokens_.Next().line;
  if (++nesting_ > kMaxDepth) return TooDeep(line);
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, Not());
  --nesting_;
  JinjaExpressionPtr node = Make(Kind::kUnary, line, "not");
  node->children.push_back(std::move(value));
  return Finish(std::move(node));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Compare() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr first, Sum());
  std::optional<std::string> op = ComparisonAt(tokens_);
  if (!op) return first;
  JinjaExpressionPtr node = Make(Kind::kCompare, first->line);
  node->children.push_back(std::move(first));
  for (; op; op = ComparisonAt(tokens_)) {
    tokens_.Next();
    if (*op == "not in") tokens_.Next();
    node->names.push_back(*op);
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr operand, Sum());
    node->children.push_back(std::move(operand));
  }
  return Finish(std::move(node));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Sum() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr left, Concat());
  while (tokens_.AtOperator("+") || tokens_.AtOperator("-")) {
    const JinjaToken op = tokens_.Next();
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr right, Concat());
    ALIGN_ASSIGN_OR_RETURN(left, Pair(Kind::kBinary, op.text, op.line,
                                      std::move(left), std::move(right)));
  }
  return left;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Concat() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr left, Product());
  while (tokens_.AtOperator("~")) {
    const int line = tokens_.Next().line;
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr right, Product());
    ALIGN_ASSIGN_OR_RETURN(left, Pair(Kind::kBinary, "~", line, std::move(left),
                                      std::move(right)));
  }
  return left;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Product() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr left, Power());
  while (tokens_.AtOperator("*") || tokens_.AtOperator("/") ||
         tokens_.AtOperator("//") || tokens_.AtOperator("%")) {
    const JinjaToken op = tokens_.Next();
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr right, Power());
    ALIGN_ASSIGN_OR_RETURN(left, Pair(Kind::kBinary, op.text, op.line,
                                      std::move(left), std::move(right)));
  }
  return left;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Power() {
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr left, Unary(true));
  while (tokens_.AtOperator("**")) {
    const int line = tokens_.Next().line;
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr right, Unary(true));
    ALIGN_ASSIGN_OR_RETURN(left, Pair(Kind::kBinary, "**", line,
                                      std::move(left), std::move(right)));
  }
  return left;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Unary(
    bool with_filters) {
  JinjaExpressionPtr node;
  if (tokens_.AtOperator("-") || tokens_.AtOperator("+")) {
    const JinjaToken op = tokens_.Next();
    if (++nesting_ > kMaxDepth) return TooDeep(op.line);
    node = Make(Kind::kUnary, op.line, op.text);
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, Unary(false));
    --nesting_;
    node->children.push_back(std::move(value));
    ALIGN_ASSIGN_OR_RETURN(node, Finish(std::move(node)));
  } else {
    ALIGN_ASSIGN_OR_RETURN(node, Primary());
  }
  ALIGN_ASSIGN_OR_RETURN(node, Postfix(std::move(node)));
  if (!with_filters) return node;
  return Filters(std::move(node));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Constant(
    const JinjaToken& token) const {
  JinjaExpressionPtr node = Make(Kind::kLiteral, token.line);
  if (token.kind == TokenKind::kInteger) {
    int64_t value = 0;
    const char* const end = token.text.data() + token.text.size();
    if (std::from_chars(token.text.data(), end, value).ec != std::errc()) {
      return InvalidArgument("line " + std::to_string(token.line) +
                             ": the number " + token.text.substr(0, 40) +
                             " is out of range");
    }
    node->literal = value;
  } else {
    node->literal = std::strtod(token.text.c_str(), nullptr);
  }
  return node;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Primary() {
  const JinjaToken token = tokens_.Peek();
  switch (token.kind) {
    case TokenKind::kName: {
      tokens_.Next();
      JinjaExpressionPtr node = Make(Kind::kLiteral, token.line);
      if (token.text == "true" || token.text == "True") {
        node->literal = true;
      } else if (token.text == "false" || token.text == "False") {
        node->literal = false;
      } else if (token.text != "none" && token.text != "None") {
        node->kind = Kind::kName;
        node->text = token.text;
      }
      return node;
    }
    case TokenKind::kString: {
      std::string value;
      while (tokens_.Peek().kind == TokenKind::kString) {
        value += tokens_.Next().text;
      }
      JinjaExpressionPtr node = Make(Kind::kLiteral, token.line);
      node->literal = MarkedText(std::move(value), kMarkup);
      return node;
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return Constant(tokens_.Next());
    case TokenKind::kOperator:
      return Brackets();
    default:
      return tokens_.Unexpected("an expression");
  }
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Brackets() {
  if (tokens_.Take("[")) return List(Kind::kList, "]");
  if (tokens_.Take("{")) return Dict();
  const int line = tokens_.Peek().line;
  if (!tokens_.Take("(")) return tokens_.Unexpected("an expression");
  if (tokens_.Take(")")) return Make(Kind::kTuple, line);
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, Tuple());
  ALIGN_RETURN_IF_ERROR(tokens_.Expect(")"));
  return value;
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::List(
    Kind kind, std::string_view close) {
  JinjaExpressionPtr list = Make(kind, tokens_.Peek().line);
  while (!tokens_.Take(close)) {
    if (!list->children.empty()) {
      ALIGN_RETURN_IF_ERROR(tokens_.Expect(","));
      if (tokens_.Take(close)) break;
    }
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr item, Expression());
    list->children.push_back(std::move(item));
  }
  return Finish(std::move(list));
}

absl::StatusOr<JinjaExpressionPtr> JinjaExpressionParser::Dict() {
  JinjaExpressionPtr dict = Make(Kind::kDict, tokens_.Peek().line);
  while (!tokens_.Take("}")) {
    if (!dict->children.empty()) {
      ALIGN_RETURN_IF_ERROR(tokens_.Expect(","));
      if (tokens_.Take("}")) break;
    }
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr key, Expression());
    ALIGN_RETURN_IF_ERROR(tokens_.Expect(":"));
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, Expression());
    dict->children.push_back(std::move(key));
    dict->children.push_back(std::move(value));
  }
  return Finish(std::move(dict));
}

}  // namespace align
