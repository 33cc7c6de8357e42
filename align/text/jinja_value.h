#pragma once

// Internal to align/text: the values of Jinja templates. They behave as
// Python's do, and none but a namespace can change.

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/text/marked_text.h"

namespace align {

struct JinjaList;
struct JinjaDict;
struct JinjaLoop;
struct JinjaFunction;

// A value, cheap to copy; what it points to belongs to a JinjaHeap.
struct JinjaValue {
  enum class Type : uint8_t {
    kUndefined,
    kNone,
    kBool,
    kInteger,
    kFloat,
    kString,
    kList,
    kDict,
    kNamespace,
    kLoop,
    kFunction
  };
  Type type = Type::kUndefined;
  union {
    int64_t integer = 0;     // kBool too
    double number;           // kFloat
    const MarkedText* text;  // kString; kUndefined: its name, or null
    const JinjaList* list;
    JinjaDict* dict;  // kNamespace too
    const JinjaLoop* loop;
    const JinjaFunction* function;
  };

  bool Is(Type other) const { return type == other; }
  // A bool is a number, as in Python.
  bool IsInteger() const { return Is(Type::kBool) || Is(Type::kInteger); }
  bool IsNumber() const { return IsInteger() || Is(Type::kFloat); }
  // Of a number.
  double AsDouble() const {
    return Is(Type::kFloat) ? number : static_cast<double>(integer);
  }
  // Of a string.
  const std::string& str() const { return text->text(); }

  static JinjaValue None();
  static JinjaValue Bool(bool value);
  static JinjaValue Integer(int64_t value);
  static JinjaValue Float(double value);
  // `text` must outlive the value.
  static JinjaValue StringView(const MarkedText& text);
};

struct JinjaList {
  std::vector<JinjaValue> items;
  bool tuple = false;
  int depth = 1;  // lists and dicts in it, one in another
};

// In order of insertion.
struct JinjaDict {
  std::vector<std::pair<JinjaValue, JinjaValue>> entries;
  int depth = 1;

  // nullptr: it is not there, or cannot be a key.
  const JinjaValue* Find(const JinjaValue& key) const;
  const JinjaValue* Find(std::string_view key) const;
  // kInvalidArgument: a list, dict or function is no key.
  absl::Status Set(const JinjaValue& key, const JinjaValue& value);

 private:
  absl::flat_hash_map<std::string, size_t> index_;
};

// The variable `loop` of a for loop.
struct JinjaLoop {
  std::vector<JinjaValue> items;
  size_t index = 0;
};

struct JinjaStatement;

// Names of one block; what is not there is looked for in the parent.
struct JinjaScope {
  JinjaScope* parent = nullptr;
  std::vector<std::pair<std::string_view, JinjaValue>> names;

  const JinjaValue* Find(std::string_view name) const;
  void Set(std::string_view name, const JinjaValue& value);
};

// A macro, a function of the language, or a method bound to its object.
struct JinjaFunction {
  std::string name;
  const JinjaStatement* macro = nullptr;
  JinjaScope* scope = nullptr;  // where the macro was defined
  JinjaValue self;              // of a method
  bool method = false;
};

struct JinjaLimits {
  int64_t max_steps = 4'000'000;         // expressions, iterations, ...
  size_t max_bytes = size_t{128} << 20;  // of all values together
  size_t max_output = size_t{32} << 20;  // bytes of a rendered text
  int max_depth = 64;                    // of lists, of calls
};

// Owns values until a rendering ends, and counts what it costs. The first limit
// that is passed is reported by every later Step.
class JinjaHeap {
 public:
  explicit JinjaHeap(const JinjaLimits& limits) : limits_(limits) {}
  JinjaHeap(const JinjaHeap&) = delete;
  JinjaHeap& operator=(const JinjaHeap&) = delete;

  JinjaValue String(MarkedText text);
  // A string that data wrote.
  JinjaValue String(std::string text) {
    return String(MarkedText(std::move(text), 0));
  }
  JinjaValue Undefined(std::string name);
  JinjaValue List(std::vector<JinjaValue> items, bool tuple = false);
  JinjaDict* NewDict();
  JinjaValue Dict(JinjaDict* dict);
  JinjaValue Namespace(JinjaDict* dict);
  JinjaLoop* NewLoop(std::vector<JinjaValue> items);
  JinjaValue Function(JinjaFunction function);
  JinjaScope* NewScope(JinjaScope* parent);

  // Counts steps; kResourceExhausted names the limit that was passed.
  absl::Status Step(int64_t count = 1);
  // Whether `bytes` more may be made.
  absl::Status CheckRoom(size_t bytes);
  const JinjaLimits& limits() const { return limits_; }

 private:
  void Count(size_t bytes);

  JinjaLimits limits_;
  int64_t steps_ = 0;
  size_t bytes_ = 0;
  bool too_deep_ = false;
  std::deque<MarkedText> texts_;
  std::deque<JinjaList> lists_;
  std::deque<JinjaDict> dicts_;
  std::deque<JinjaLoop> loops_;
  std::deque<JinjaFunction> functions_;
  std::deque<JinjaScope> scopes_;
};

// "str", "dict", ...: for messages.
std::string JinjaTypeName(const JinjaValue& value);
bool JinjaTruth(const JinjaValue& value);

}  // namespace align
