#include "align/base/json_document.h"

#include <algorithm>
#include <string>

namespace align {
namespace {

// `text` with ".0" after whole numbers of 20 digits and more, which simdjson
// refuses and transformers writes (1000000000000000019884624838656 for "no
// limit").
std::string WithLongIntegersAsDoubles(std::string_view text) {
  constexpr size_t kLongest = 19;  // digits that 64 bits surely hold
  std::string out;
  out.reserve(text.size() + 64);
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    out += c;
    if (in_string && c == '\\' && i + 1 < text.size()) {
      out += text[++i];
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && c >= '0' && c <= '9') {
      size_t end = i + 1;
      while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
      out += text.substr(i + 1, end - i - 1);
      const char next = end < text.size() ? text[end] : ' ';
      const char before = i > 0 ? text[i - 1] : ' ';
      const bool whole = next != '.' && next != 'e' && next != 'E' &&
                         before != '.' && before != '+' && before != 'e' &&
                         before != 'E';
      if (whole && end - i > kLongest) out += ".0";
      i = end - 1;
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<simdjson::dom::object> ParseJsonObject(
    simdjson::dom::parser& parser, std::string_view text,
    const std::string& where, size_t max_depth) {
  constexpr size_t kSmallestCapacity = 64;
  auto error =
      parser.allocate(std::max(text.size(), kSmallestCapacity), max_depth);
  simdjson::dom::object object;
  if (error == simdjson::SUCCESS) {
    // The parser copies the text into a buffer with the padding it needs.
    error = parser.parse(text.data(), text.size(), true).get(object);
  }
  if (error == simdjson::NUMBER_ERROR) {
    const std::string wide = WithLongIntegersAsDoubles(text);
    error =
        parser.allocate(std::max(wide.size(), kSmallestCapacity), max_depth);
    if (error == simdjson::SUCCESS) {
      error = parser.parse(wide.data(), wide.size(), true).get(object);
    }
  }
  if (error == simdjson::INCORRECT_TYPE) {
    return InvalidArgument(where + ": a JSON object expected at the top");
  }
  if (error != simdjson::SUCCESS) {
    return InvalidArgument(
        where + ": not valid JSON: " + simdjson::error_message(error));
  }
  return object;
}

}  // namespace align
