#include "align/text/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "align/text/jinja_expression_parser.h"
#include "align/text/jinja_lexer.h"
#include "align/text/jinja_token_stream.h"

namespace align {
namespace {

using Kind = JinjaStatement::Kind;
using TokenKind = JinjaToken::Kind;

constexpr int kMaxBlockDepth = 60;

class Parser {
 public:
  explicit Parser(std::vector<JinjaToken> tokens)
      : tokens_(std::move(tokens)), expressions_(tokens_) {}

  absl::StatusOr<JinjaProgram> Run();

 private:
  // Statements up to a block that starts with one of `ends`, which is taken as
  // far as its name.
  absl::StatusOr<JinjaBlock> Body(std::initializer_list<std::string_view> ends,
                                  std::string* end = nullptr);
  absl::StatusOr<JinjaStatement> Statement();
  absl::Status BlockEnd();
  absl::Status If(JinjaStatement& statement);
  absl::Status For(JinjaStatement& statement);
  absl::Status Set(JinjaStatement& statement);
  absl::Status Macro(JinjaStatement& statement);
  absl::Status With(JinjaStatement& statement);
  absl::Status FilterBlock(JinjaStatement& statement);
  absl::Status Generation(JinjaStatement& statement);
  absl::Status LoopControl(JinjaStatement& statement, Kind kind);
  // A body up to {% name %}, the whole of that block taken.
  absl::Status AddBody(JinjaStatement& statement, std::string_view name);

  JinjaTokenStream tokens_;
  JinjaExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;  // around this place, in the same macro
  bool has_generation_ = false;
};

absl::Status Parser::BlockEnd() {
  if (tokens_.Peek().kind != TokenKind::kBlockEnd) {
    return tokens_.Unexpected("\"%}\"");
  }
  tokens_.Next();
  return absl::OkStatus();
}

absl::StatusOr<JinjaBlock> Parser::Body(
    std::initializer_list<std::string_view> ends, std::string* end) {
  if (++depth_ > kMaxBlockDepth) {
    return ResourceExhausted("line " + std::to_string(tokens_.Peek().line) +
                             ": blocks more than " +
                             std::to_string(kMaxBlockDepth) + " deep");
  }
  JinjaBlock body;
  while (true) {
    const JinjaToken& token = tokens_.Peek();
    JinjaStatement statement;
    statement.line = token.line;
    if (token.kind == TokenKind::kEnd) {
      if (ends.size() == 0) break;
      return tokens_.Unexpected("{% " + std::string(*ends.begin()) + " %}");
    }
    if (token.kind == TokenKind::kText) {
      statement.text = MarkedText(tokens_.Next().text, kMarkup);
    } else if (token.kind == TokenKind::kOutputBegin) {
      tokens_.Next();
      statement.kind = Kind::kOutput;
      ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, expressions_.Tuple());
      statement.expressions.push_back(std::move(value));
      if (tokens_.Peek().kind != TokenKind::kOutputEnd) {
        return tokens_.Unexpected("\"}}\"");
      }
      tokens_.Next();
    } else {
      tokens_.Next();
      if (tokens_.Peek().kind == TokenKind::kName &&
          std::find(ends.begin(), ends.end(), tokens_.Peek().text) !=
              ends.end()) {
        const std::string name = tokens_.Next().text;
        if (end != nullptr) *end = name;
        break;
      }
      ALIGN_ASSIGN_OR_RETURN(statement, Statement());
    }
    body.push_back(std::move(statement));
  }
  --depth_;
  return body;
}

absl::StatusOr<JinjaStatement> Parser::Statement() {
  JinjaStatement statement;
  statement.line = tokens_.Peek().line;
  ALIGN_ASSIGN_OR_RETURN(const std::string name,
                         tokens_.ExpectName("the name of a block"));
  absl::Status status;
  if (name == "if") {
    status = If(statement);
  } else if (name == "for") {
    status = For(statement);
  } else if (name == "set") {
    status = Set(statement);
  } else if (name == "macro") {
    status = Macro(statement);
  } else if (name == "with") {
    status = With(statement);
  } else if (name == "filter") {
    status = FilterBlock(statement);
  } else if (name == "generation") {
    status = Generation(statement);
  } else if (name == "break") {
    status = LoopControl(statement, Kind::kBreak);
  } else if (name == "continue") {
    status = LoopControl(statement, Kind::kContinue);
  } else if (name.starts_with("end") || name == "else" || name == "elif") {
    status = InvalidArgument("line " + std::to_string(statement.line) +
                             ": {% " + name.substr(0, 40) +
                             " %} that belongs to no block here");
  } else {
    status = Unimplemented("line " + std::to_string(statement.line) +
                           ": the block {% " + name.substr(0, 40) +
                           " %} is outside the subset");
  }
  ALIGN_RETURN_IF_ERROR(status);
  return statement;
}

absl::Status Parser::AddBody(JinjaStatement& statement, std::string_view name) {
  ALIGN_ASSIGN_OR_RETURN(JinjaBlock body, Body({name}));
  statement.bodies.push_back(std::move(body));
  // Jinja takes {% endmacro name %} too.
  if (name == "endmacro" && tokens_.AtName(statement.name)) tokens_.Next();
  return BlockEnd();
}

absl::Status Parser::If(JinjaStatement& statement) {
  statement.kind = Kind::kIf;
  std::string end = "elif";
  while (end == "elif") {
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr condition, expressions_.Tuple());
    statement.expressions.push_back(std::move(condition));
    ALIGN_RETURN_IF_ERROR(BlockEnd());
    ALIGN_ASSIGN_OR_RETURN(JinjaBlock body,
                           Body({"endif", "elif", "else"}, &end));
    statement.bodies.push_back(std::move(body));
  }
  if (end == "else") {
    ALIGN_RETURN_IF_ERROR(BlockEnd());
    return AddBody(statement, "endif");
  }
  return BlockEnd();
}

absl::Status Parser::For(JinjaStatement& statement) {
  statement.kind = Kind::kFor;
  ALIGN_ASSIGN_OR_RETURN(statement.target, expressions_.Target());
  if (statement.target->kind == JinjaExpression::Kind::kAttribute) {
    return tokens_.Unexpected("the name of a loop variable");
  }
  if (!tokens_.TakeName("in")) return tokens_.Unexpected("\"in\"");
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr items,
                         expressions_.ExpressionWithoutIf());
  statement.expressions.push_back(std::move(items));
  if (tokens_.TakeName("if")) {
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr condition,
                           expressions_.Expression());
    statement.expressions.push_back(std::move(condition));
  }
  if (tokens_.AtName("recursive")) {
    return Unimplemented("line " + std::to_string(statement.line) +
                         ": recursive loops are outside the subset");
  }
  ALIGN_RETURN_IF_ERROR(BlockEnd());
  std::string end;
  ++loops_;
  ALIGN_ASSIGN_OR_RETURN(JinjaBlock body, Body({"endfor", "else"}, &end));
  --loops_;
  statement.bodies.push_back(std::move(body));
  if (end == "else") {
    ALIGN_RETURN_IF_ERROR(BlockEnd());
    return AddBody(statement, "endfor");
  }
  statement.bodies.emplace_back();
  return BlockEnd();
}

absl::Status Parser::Set(JinjaStatement& statement) {
  ALIGN_ASSIGN_OR_RETURN(statement.target, expressions_.Target());
  if (tokens_.Take("=")) {
    statement.kind = Kind::kSet;
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, expressions_.Tuple());
    statement.expressions.push_back(std::move(value));
    return BlockEnd();
  }
  statement.kind = Kind::kSetBlock;
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value,
                         expressions_.Filters(expressions_.Make(
                             JinjaExpression::Kind::kName, statement.line)));
  statement.expressions.push_back(std::move(value));
  ALIGN_RETURN_IF_ERROR(BlockEnd());
  return AddBody(statement, "endset");
}

absl::Status Parser::Macro(JinjaStatement& statement) {
  statement.kind = Kind::kMacro;
  ALIGN_ASSIGN_OR_RETURN(statement.name,
                         tokens_.ExpectName("the name of a macro"));
  ALIGN_RETURN_IF_ERROR(tokens_.Expect("("));
  while (!tokens_.Take(")")) {
    if (!statement.parameters.empty()) {
      ALIGN_RETURN_IF_ERROR(tokens_.Expect(","));
      if (tokens_.Take(")")) break;
    }
    ALIGN_ASSIGN_OR_RETURN(std::string parameter,
                           tokens_.ExpectName("the name of a parameter"));
    statement.parameters.push_back(std::move(parameter));
    if (tokens_.Take("=")) {
      ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value,
                             expressions_.Expression());
      statement.expressions.push_back(std::move(value));
    } else if (!statement.expressions.empty()) {
      return tokens_.Unexpected("a default, as the parameter before has one,");
    }
  }
  ALIGN_RETURN_IF_ERROR(BlockEnd());
  const int loops = std::exchange(loops_, 0);
  const absl::Status status = AddBody(statement, "endmacro");
  loops_ = loops;
  return status;
}

absl::Status Parser::With(JinjaStatement& statement) {
  statement.kind = Kind::kWith;
  while (tokens_.Peek().kind != TokenKind::kBlockEnd) {
    if (!statement.parameters.empty()) {
      ALIGN_RETURN_IF_ERROR(tokens_.Expect(","));
    }
    ALIGN_ASSIGN_OR_RETURN(std::string name,
                           tokens_.ExpectName("the name of a variable"));
    statement.parameters.push_back(std::move(name));
    ALIGN_RETURN_IF_ERROR(tokens_.Expect("="));
    ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value, expressions_.Expression());
    statement.expressions.push_back(std::move(value));
  }
  ALIGN_RETURN_IF_ERROR(BlockEnd());
  return AddBody(statement, "endwith");
}

absl::Status Parser::FilterBlock(JinjaStatement& statement) {
  statement.kind = Kind::kFilter;
  ALIGN_ASSIGN_OR_RETURN(JinjaExpressionPtr value,
                         expressions_.FilterChain(expressions_.Make(
                             JinjaExpression::Kind::kName, statement.line)));
  statement.expressions.push_back(std::move(value));
  ALIGN_RETURN_IF_ERROR(BlockEnd());
  return AddBody(statement, "endfilter");
}

absl::Status Parser::Generation(JinjaStatement& statement) {
  statement.kind = Kind::kGeneration;
  has_generation_ = true;
  ALIGN_RETURN_IF_ERROR(BlockEnd());
  const int loops = std::exchange(loops_, 0);
  const absl::Status status = AddBody(statement, "endgeneration");
  loops_ = loops;
  return status;
}

absl::Status Parser::LoopControl(JinjaStatement& statement, Kind kind) {
  statement.kind = kind;
  if (loops_ == 0) {
    return InvalidArgument("line " + std::to_string(statement.line) +
                           ": break or continue outside a loop");
  }
  return BlockEnd();
}

absl::StatusOr<JinjaProgram> Parser::Run() {
  JinjaProgram program;
  ALIGN_ASSIGN_OR_RETURN(program.body, Body({}));
  program.has_generation = has_generation_;
  return program;
}

}  // namespace

absl::StatusOr<JinjaProgram> ParseJinja(std::string_view source) {
  ALIGN_ASSIGN_OR_RETURN(std::vector<JinjaToken> tokens, LexJinja(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace align
