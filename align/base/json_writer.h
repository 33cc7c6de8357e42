#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/status.h"

namespace align {

struct JsonStyle {
  int indent = 2;  // spaces per level; 0 puts everything on one line
};

// Builds one JSON text. The calls must nest properly (checked); what comes
// from input, a string that is not UTF-8, is reported by Finish.
//
//   JsonWriter json({.indent = 0});
//   json.BeginObject();
//   json.Field("step", 3);
//   json.Key("ids");
//   json.BeginArray();
//   json.Value(1.5);
//   json.EndArray();
//   json.EndObject();
//   ALIGN_ASSIGN_OR_RETURN(const std::string line, std::move(json).Finish());
//
// Doubles are the shortest text that reads back as the same double and keep a
// ".0", so that typed readers see a float; NaN and infinities become null.
// Used by one thread.
class JsonWriter {
 public:
  explicit JsonWriter(JsonStyle style = {}) : style_(style) {}

  void BeginObject() { Begin('{'); }
  void EndObject() { End('{', '}'); }
  void BeginArray() { Begin('['); }
  void EndArray() { End('[', ']'); }
  // The name of the next value; inside objects only.
  void Key(std::string_view name);

  void Null();
  void Value(std::string_view text);
  void Value(const char* text) { Value(std::string_view(text)); }
  void Value(double number);
  template <std::integral T>
  void Value(T number) {
    if constexpr (std::same_as<T, bool>) {
      Literal(number ? "true" : "false");
    } else {
      Literal(std::to_string(number));
    }
  }
  // A value, or each of a vector's as an array, under a name.
  template <typename T>
  void Field(std::string_view name, const T& value) {
    Key(name);
    Value(value);
  }
  template <typename T>
  void Field(std::string_view name, const std::vector<T>& values) {
    Key(name);
    BeginArray();
    for (const T& value : values) Value(value);
    EndArray();
  }

  // The text, without a final newline. kInvalidArgument shows the first string
  // that was not UTF-8, and where it stood.
  absl::StatusOr<std::string> Finish() &&;

 private:
  struct Level {
    char open;  // '{' or '['
    bool empty = true;
    bool has_key = false;
  };

  void Begin(char open);
  void End(char open, char close);
  void Literal(std::string_view text);
  void Quote(std::string_view text);
  // Comma and line break before an element of the innermost level.
  void Separate();
  // What stands before any value: nothing after a key, else Separate().
  void BeforeValue();
  void NewLine();

  JsonStyle style_;
  std::string text_;
  std::string last_key_;
  std::vector<Level> levels_;
  absl::Status status_;
};

}  // namespace align
