#include "align/base/json_writer.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "align/base/check.h"

namespace align {
namespace {

// The length of the well-formed UTF-8 sequence at the start of `text`, or 0:
// overlong forms, surrogates and values above U+10FFFF are not well-formed
// (Unicode 15, table 3-7).
size_t Utf8SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto in = [&](size_t i, unsigned low, unsigned high) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return in(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return in(1, low, high) && in(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    const bool good =
        in(1, low, high) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF);
    return good ? 4 : 0;
  }
  return 0;
}

// The escape of one ASCII character, or nothing if it stands for itself.
std::string Escape(char c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    default:
      break;
  }
  if (static_cast<unsigned char>(c) >= 0x20) return {};
  char text[7];
  std::snprintf(text, sizeof text, "\\u%04x", static_cast<unsigned>(c));
  return text;
}

}  // namespace

void JsonWriter::Key(std::string_view name) {
  ALIGN_CHECK(!levels_.empty() && levels_.back().open == '{' &&
              !levels_.back().has_key)
      << "Key(" << std::string(name) << ") outside an object or after a key";
  Separate();
  last_key_ = name;
  Quote(name);
  text_ += ": ";
  levels_.back().has_key = true;
}

void JsonWriter::Null() { Literal("null"); }

void JsonWriter::Value(std::string_view text) {
  BeforeValue();
  Quote(text);
}

void JsonWriter::Value(double number) {
  if (!std::isfinite(number)) return Null();
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number).ptr;
  std::string literal(text, end);
  if (literal.find_first_of(".e") == std::string::npos) literal += ".0";
  Literal(literal);
}

absl::StatusOr<std::string> JsonWriter::Finish() && {
  ALIGN_CHECK(levels_.empty() && !text_.empty())
      << "JSON finished with " << levels_.size() << " open levels";
  if (!status_.ok()) return status_;
  return std::move(text_);
}

void JsonWriter::Begin(char open) {
  BeforeValue();
  text_ += open;
  levels_.push_back({.open = open});
}

void JsonWriter::End(char open, char close) {
  ALIGN_CHECK(!levels_.empty() && levels_.back().open == open &&
              !levels_.back().has_key)
      << "misplaced " << close;
  const bool empty = levels_.back().empty;
  levels_.pop_back();
  if (!empty) NewLine();
  text_ += close;
}

void JsonWriter::Literal(std::string_view text) {
  BeforeValue();
  text_ += text;
}

void JsonWriter::Quote(std::string_view text) {
  text_ += '"';
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8SequenceLength(text.substr(i));
    if (length == 0) {
      if (status_.ok()) {
        status_ =
            InvalidArgument("JSON string at or under key \"" + last_key_ +
                            "\": byte " + std::to_string(i) + " is not UTF-8");
      }
      return;
    }
    const std::string escape = length == 1 ? Escape(text[i]) : std::string();
    text_ += escape.empty() ? text.substr(i, length) : std::string_view(escape);
    i += length;
  }
  text_ += '"';
}

void JsonWriter::Separate() {
  if (!levels_.back().empty) text_ += style_.indent == 0 ? ", " : ",";
  levels_.back().empty = false;
  NewLine();
}

void JsonWriter::BeforeValue() {
  if (levels_.empty()) {
    ALIGN_CHECK(text_.empty()) << "a second value at the top of a JSON text";
    return;
  }
  if (levels_.back().open == '[') return Separate();
  ALIGN_CHECK(levels_.back().has_key) << "a value without a key in an object";
  levels_.back().has_key = false;
}

void JsonWriter::NewLine() {
  if (style_.indent == 0) return;
  text_ += '\n';
  text_.append(levels_.size() * style_.indent, ' ');
}

}  // namespace align
