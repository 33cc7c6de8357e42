#include "align/base/json_document.h"

#include <algorithm>
#include <string>

namespace align {
namespace {

// Integers of more than 64 bits as floating-point numbers: transformers writes
// one for a model_max_length that is no limit.
std::string WithoutLongIntegers(std::string_view text) {
  constexpr size_t kDigits = 20;  // of 2^64 - 1
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string out;
  out.reserve(text.size() + 64);
  for (size_t i = 0; i < text.size();) {
    size_t end = i + 1;
    if (text[i] == '"') {
      while (end < text.size() && text[end] != '"') {
        end += text[end] == '\\' ? 2 : 1;
      }
      end = std::min(end + 1, text.size());
    } else if (is_digit(text[i])) {
      while (end < text.size() && is_digit(text[end])) ++end;
    }
    out.append(text.data() + i, end - i);
    const bool whole =
        (i == 0 || (text[i - 1] != '.' && text[i - 1] != '+')) &&
        (end == text.size() ||
         (text[end] != '.' && text[end] != 'e' && text[end] != 'E'));
    if (is_digit(text[i]) && end - i >= kDigits && whole) out += "e0";
    i = end;
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
    const std::string shorter = WithoutLongIntegers(text);
    error = parser.allocate(shorter.size(), max_depth);
    if (error == simdjson::SUCCESS) {
      error = parser.parse(shorter).get(object);
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
