#pragma once

// Internal to align/text: a parsed Jinja template.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "align/text/marked_text.h"

namespace align {

struct JinjaExpression;
using JinjaExpressionPtr = std::unique_ptr<JinjaExpression>;

struct JinjaExpression {
  enum class Kind {
    kLiteral,      // literal
    kName,         // text
    kList,         // children
    kTuple,        // children
    kDict,         // children: key, value, key, value, ...
    kUnary,        // text: not - +
    kBinary,       // text: + - * / // % ** ~
    kCompare,      // children[0] names[0] children[1] names[1] ...
    kAnd,          // children[0], children[1]
    kOr,           // the same
    kConditional,  // condition, value, and otherwise if it is there
    kAttribute,    // children[0].text
    kSubscript,    // children[0][children[1]]
    kSlice,        // children[0][begin:end:step], null where left out
    kCall,         // children[0](arguments)
    kFilter,       // children[0] | text(arguments)
    kTest          // children[0] is text(arguments)
  };
  // None, a bool, a number or a string that the template wrote.
  using Literal =
      std::variant<std::monostate, bool, int64_t, double, MarkedText>;

  Kind kind = Kind::kLiteral;
  int line = 1;
  int depth = 1;  // of the tree below
  std::string text;
  Literal literal;
  std::vector<JinjaExpressionPtr> children;
  // kCompare: operators. kCall, kFilter, kTest: the names of the last
  // names.size() children, which are named arguments.
  std::vector<std::string> names;
};

struct JinjaStatement;
using JinjaBlock = std::vector<JinjaStatement>;

struct JinjaStatement {
  enum class Kind {
    kText,        // text
    kOutput,      // {{ expressions[0] }}
    kIf,          // expressions[i] goes with bodies[i]; one more body: else
    kFor,         // for target in expressions[0] [if expressions[1]]; bodies:
                  // the loop's, and else's
    kSet,         // set target = expressions[0]
    kSetBlock,    // set target [| filters]: expressions[0] filters name ""
    kMacro,       // macro name(parameters)
    kGeneration,  // what the assistant says
    kFilter,      // expressions[0] filters name ""
    kWith,        // with parameters = expressions
    kBreak,
    kContinue
  };

  Kind kind = Kind::kText;
  int line = 1;
  MarkedText text;
  std::string name;
  // A name, an attribute of a namespace, or a tuple of names.
  JinjaExpressionPtr target;
  std::vector<JinjaExpressionPtr> expressions;
  // kMacro, kWith; with kMacro expressions are the defaults of the last ones.
  std::vector<std::string> parameters;
  std::vector<JinjaBlock> bodies;
};

}  // namespace align
