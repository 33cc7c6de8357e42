#include "align/text/jinja_interpreter.h"

#include <algorithm>
#include <string>
#include <utility>

#include "align/text/jinja_evaluator.h"

namespace align {
namespace {

using Kind = JinjaStatement::Kind;
using Type = JinjaValue::Type;

enum class Flow { kNormal, kBreak, kContinue };

// Runs statements; expressions are the evaluator's, which calls back for
// macros.
class Interpreter {
 public:
  Interpreter(JinjaHeap& heap, std::optional<int64_t> time)
      : heap_(heap),
        evaluator_(heap, time,
                   [this](const JinjaFunction& macro, const JinjaCall& call) {
                     return CallMacro(macro, call);
                   }) {}

  absl::StatusOr<Flow> Run(const JinjaBlock& block, JinjaScope& scope);
  MarkedText TakeOutput() { return std::move(output_); }
  int error_line() const { return evaluator_.error_line(); }

 private:
  absl::StatusOr<Flow> RunOne(const JinjaStatement& statement,
                              JinjaScope& scope);
  absl::Status Print(const MarkedText& text);
  absl::StatusOr<Flow> If(const JinjaStatement& statement, JinjaScope& scope);
  absl::StatusOr<Flow> For(const JinjaStatement& statement, JinjaScope& scope);
  // The items that the loop's condition takes.
  absl::StatusOr<std::vector<JinjaValue>> LoopItems(
      const JinjaStatement& statement, JinjaScope& scope);
  absl::Status With(const JinjaStatement& statement, JinjaScope& scope);
  absl::Status DefineMacro(const JinjaStatement& statement, JinjaScope& scope);
  absl::StatusOr<JinjaValue> CallMacro(const JinjaFunction& macro,
                                       const JinjaCall& call);
  // What the block prints, in a scope of its own.
  absl::StatusOr<MarkedText> Capture(const JinjaBlock& block,
                                     JinjaScope& scope);
  // The filters of a block on what it printed.
  absl::StatusOr<JinjaValue> Filtered(const JinjaStatement& statement,
                                      JinjaScope& scope);
  absl::Status Assign(const JinjaExpression& target, const JinjaValue& value,
                      JinjaScope& scope);

  JinjaHeap& heap_;
  JinjaEvaluator evaluator_;
  MarkedText output_;
};

absl::StatusOr<Flow> Interpreter::Run(const JinjaBlock& block,
                                      JinjaScope& scope) {
  for (const JinjaStatement& statement : block) {
    absl::Status status = evaluator_.Enter();
    Flow flow = Flow::kNormal;
    if (status.ok()) {
      auto result = RunOne(statement, scope);
      status = result.status();
      if (status.ok()) flow = *result;
    }
    evaluator_.Leave();
    if (!status.ok()) return evaluator_.Located(status, statement.line);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

absl::Status Interpreter::Print(const MarkedText& text) {
  output_.Append(text);
  ALIGN_RETURN_IF_ERROR(heap_.Step(static_cast<int64_t>(text.size() / 256)));
  if (output_.size() <= heap_.limits().max_output) return absl::OkStatus();
  return ResourceExhausted("the text takes more than " +
                           std::to_string(heap_.limits().max_output) +
                           " bytes");
}

absl::StatusOr<Flow> Interpreter::RunOne(const JinjaStatement& statement,
                                         JinjaScope& scope) {
  switch (statement.kind) {
    case Kind::kText:
      ALIGN_RETURN_IF_ERROR(Print(statement.text));
      return Flow::kNormal;
    case Kind::kOutput: {
      ALIGN_ASSIGN_OR_RETURN(
          const JinjaValue value,
          evaluator_.Evaluate(*statement.expressions[0], scope));
      ALIGN_ASSIGN_OR_RETURN(const MarkedText text, JinjaPrinted(value, heap_));
      ALIGN_RETURN_IF_ERROR(Print(text));
      return Flow::kNormal;
    }
    case Kind::kIf:
      return If(statement, scope);
    case Kind::kFor:
      return For(statement, scope);
    case Kind::kSet: {
      ALIGN_ASSIGN_OR_RETURN(
          const JinjaValue value,
          evaluator_.Evaluate(*statement.expressions[0], scope));
      ALIGN_RETURN_IF_ERROR(Assign(*statement.target, value, scope));
      return Flow::kNormal;
    }
    case Kind::kSetBlock: {
      ALIGN_ASSIGN_OR_RETURN(const JinjaValue value,
                             Filtered(statement, scope));
      ALIGN_RETURN_IF_ERROR(Assign(*statement.target, value, scope));
      return Flow::kNormal;
    }
    case Kind::kMacro:
      ALIGN_RETURN_IF_ERROR(DefineMacro(statement, scope));
      return Flow::kNormal;
    case Kind::kGeneration: {
      ALIGN_ASSIGN_OR_RETURN(MarkedText text,
                             Capture(statement.bodies[0], scope));
      text.Add(kReply, 0, text.size());
      ALIGN_RETURN_IF_ERROR(Print(text));
      return Flow::kNormal;
    }
    case Kind::kFilter: {
      ALIGN_ASSIGN_OR_RETURN(const JinjaValue value,
                             Filtered(statement, scope));
      ALIGN_ASSIGN_OR_RETURN(const MarkedText text, JinjaPrinted(value, heap_));
      ALIGN_RETURN_IF_ERROR(Print(text));
      return Flow::kNormal;
    }
    case Kind::kWith:
      ALIGN_RETURN_IF_ERROR(With(statement, scope));
      return Flow::kNormal;
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      break;
  }
  return Flow::kContinue;
}

absl::StatusOr<Flow> Interpreter::If(const JinjaStatement& statement,
                                     JinjaScope& scope) {
  for (size_t i = 0; i < statement.expressions.size(); ++i) {
    ALIGN_ASSIGN_OR_RETURN(
        const JinjaValue condition,
        evaluator_.Evaluate(*statement.expressions[i], scope));
    if (JinjaTruth(condition)) return Run(statement.bodies[i], scope);
  }
  if (statement.bodies.size() == statement.expressions.size()) {
    return Flow::kNormal;
  }
  return Run(statement.bodies.back(), scope);
}

absl::StatusOr<std::vector<JinjaValue>> Interpreter::LoopItems(
    const JinjaStatement& statement, JinjaScope& scope) {
  ALIGN_ASSIGN_OR_RETURN(const JinjaValue sequence,
                         evaluator_.Evaluate(*statement.expressions[0], scope));
  ALIGN_ASSIGN_OR_RETURN(std::vector<JinjaValue> items,
                         JinjaItems(sequence, heap_));
  if (statement.expressions.size() == 1) return items;
  std::vector<JinjaValue> kept;
  for (const JinjaValue& item : items) {
    JinjaScope& inner = *heap_.NewScope(&scope);
    ALIGN_RETURN_IF_ERROR(Assign(*statement.target, item, inner));
    ALIGN_ASSIGN_OR_RETURN(
        const JinjaValue condition,
        evaluator_.Evaluate(*statement.expressions[1], inner));
    if (JinjaTruth(condition)) kept.push_back(item);
  }
  return kept;
}

absl::StatusOr<Flow> Interpreter::For(const JinjaStatement& statement,
                                      JinjaScope& scope) {
  ALIGN_ASSIGN_OR_RETURN(std::vector<JinjaValue> items,
                         LoopItems(statement, scope));
  if (items.empty()) {
    return Run(statement.bodies[1], *heap_.NewScope(&scope));
  }
  JinjaLoop& loop = *heap_.NewLoop(std::move(items));
  JinjaValue loop_value;
  loop_value.type = Type::kLoop;
  loop_value.loop = &loop;
  for (; loop.index < loop.items.size(); ++loop.index) {
    ALIGN_RETURN_IF_ERROR(heap_.Step());
    JinjaScope& inner = *heap_.NewScope(&scope);
    inner.Set("loop", loop_value);
    ALIGN_RETURN_IF_ERROR(
        Assign(*statement.target, loop.items[loop.index], inner));
    ALIGN_ASSIGN_OR_RETURN(const Flow flow, Run(statement.bodies[0], inner));
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNormal;
}

absl::Status Interpreter::With(const JinjaStatement& statement,
                               JinjaScope& scope) {
  JinjaScope& inner = *heap_.NewScope(&scope);
  for (size_t i = 0; i < statement.parameters.size(); ++i) {
    ALIGN_ASSIGN_OR_RETURN(
        const JinjaValue value,
        evaluator_.Evaluate(*statement.expressions[i], scope));
    inner.Set(statement.parameters[i], value);
  }
  return Run(statement.bodies[0], inner).status();
}

absl::Status Interpreter::DefineMacro(const JinjaStatement& statement,
                                      JinjaScope& scope) {
  scope.Set(statement.name, heap_.Function({.name = statement.name,
                                            .macro = &statement,
                                            .scope = &scope}));
  return absl::OkStatus();
}

absl::StatusOr<JinjaValue> Interpreter::CallMacro(const JinjaFunction& macro,
                                                  const JinjaCall& call) {
  const JinjaStatement& statement = *macro.macro;
  const size_t count = statement.parameters.size();
  const size_t required = count - statement.expressions.size();
  if (call.arguments.size() > count) {
    return call.Bad("at most " + std::to_string(count) +
                    " arguments expected, " +
                    std::to_string(call.arguments.size()) + " found");
  }
  for (const auto& [name, value] : call.named) {
    const auto at = std::find(statement.parameters.begin(),
                              statement.parameters.end(), name);
    if (at == statement.parameters.end()) {
      return call.Bad("no parameter \"" + name.substr(0, 40) + "\"");
    }
    if (static_cast<size_t>(at - statement.parameters.begin()) <
        call.arguments.size()) {
      return call.Bad("the argument \"" + name.substr(0, 40) + "\" twice");
    }
  }
  JinjaScope& scope = *heap_.NewScope(macro.scope);
  for (size_t i = 0; i < count; ++i) {
    const std::string& parameter = statement.parameters[i];
    const auto named = std::find_if(
        call.named.begin(), call.named.end(),
        [&](const auto& argument) { return argument.first == parameter; });
    JinjaValue value;
    if (i < call.arguments.size()) {
      value = call.arguments[i];
    } else if (named != call.named.end()) {
      value = named->second;
    } else if (i >= required) {
      ALIGN_ASSIGN_OR_RETURN(
          value,
          evaluator_.Evaluate(*statement.expressions[i - required], scope));
    } else {
      value =
          heap_.Undefined("the parameter \"" + parameter + "\" was not given");
    }
    scope.Set(parameter, value);
  }
  ALIGN_ASSIGN_OR_RETURN(MarkedText text, Capture(statement.bodies[0], scope));
  return heap_.String(std::move(text));
}

absl::StatusOr<MarkedText> Interpreter::Capture(const JinjaBlock& block,
                                                JinjaScope& scope) {
  MarkedText outer = std::exchange(output_, MarkedText());
  const absl::Status status = Run(block, *heap_.NewScope(&scope)).status();
  MarkedText text = std::exchange(output_, std::move(outer));
  ALIGN_RETURN_IF_ERROR(status);
  return text;
}

absl::StatusOr<JinjaValue> Interpreter::Filtered(
    const JinjaStatement& statement, JinjaScope& scope) {
  ALIGN_ASSIGN_OR_RETURN(MarkedText text, Capture(statement.bodies[0], scope));
  JinjaScope& inner = *heap_.NewScope(&scope);
  inner.Set("", heap_.String(std::move(text)));
  return evaluator_.Evaluate(*statement.expressions[0], inner);
}

absl::Status Interpreter::Assign(const JinjaExpression& target,
                                 const JinjaValue& value, JinjaScope& scope) {
  if (target.kind == JinjaExpression::Kind::kName) {
    scope.Set(target.text, value);
    return absl::OkStatus();
  }
  if (target.kind == JinjaExpression::Kind::kAttribute) {
    const std::string& name = target.children[0]->text;
    const JinjaValue* object = scope.Find(name);
    if (object == nullptr || !object->Is(Type::kNamespace)) {
      return InvalidArgument("set " + name + "." + target.text + ": \"" + name +
                             "\" is no namespace");
    }
    return object->dict->Set(heap_.String(MarkedText(target.text, kMarkup)),
                             value);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::vector<JinjaValue> items,
                         JinjaItems(value, heap_));
  if (items.size() != target.children.size()) {
    return InvalidArgument(std::to_string(items.size()) + " values for " +
                           std::to_string(target.children.size()) +
                           " variables");
  }
  for (size_t i = 0; i < items.size(); ++i) {
    ALIGN_RETURN_IF_ERROR(Assign(*target.children[i], items[i], scope));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MarkedText> RunJinja(const JinjaProgram& program,
                                    JinjaScope& globals, JinjaHeap& heap,
                                    std::optional<int64_t> time) {
  Interpreter interpreter(heap, time);
  const absl::Status status = interpreter.Run(program.body, globals).status();
  if (status.ok()) return interpreter.TakeOutput();
  return Annotate(status, "line " + std::to_string(interpreter.error_line()));
}

}  // namespace align
